// Builds the one ES module that the notebook and the HTML page share. The same sources give the same bytes.
// `--check` compares with the committed bundle and writes nothing.
import { readFile, writeFile, mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const target = join(here, "..", "static", "inspector.js");
const budget = 92_000;

const result = await build({
  absWorkingDir: here,
  entryPoints: ["index.ts"],
  bundle: true,
  format: "esm",
  target: "es2022",
  minify: true,
  charset: "utf8",
  legalComments: "none",
  write: false,
});

const bundle = result.outputFiles[0].text;
// The bundle is put into an inline script of the exported page.
if (/<\/script|<!--/i.test(bundle)) throw new Error("the bundle holds a sequence that would end an inline script");
if (bundle.length > budget) throw new Error(`the bundle has ${bundle.length} bytes, the budget is ${budget}`);

if (process.argv.includes("--check")) {
  const committed = await readFile(target, "utf8");
  if (committed !== bundle) {
    console.error("static/inspector.js is not what the sources give: run `npm run build` and commit it");
    process.exit(1);
  }
  console.log(`static/inspector.js is up to date, ${bundle.length} bytes`);
} else {
  await mkdir(dirname(target), { recursive: true });
  await writeFile(target, bundle);
  console.log(`static/inspector.js: ${bundle.length} bytes`);
}
