// Builds the unit tests of the pure parts and runs them with node's own runner.
import { spawnSync } from "node:child_process";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const tests = (await readdir(join(here, "tests"))).filter((name) => name.endsWith(".test.ts"));
const target = await mkdtemp(join(tmpdir(), "peftviz-tests-"));
try {
  await build({
    absWorkingDir: here,
    entryPoints: tests.map((name) => `tests/${name}`),
    bundle: true,
    format: "esm",
    platform: "node",
    outdir: target,
    outExtension: { ".js": ".mjs" },
    logLevel: "warning",
  });
  const files = tests.map((name) => join(target, name.replace(/\.ts$/, ".mjs")));
  const run = spawnSync(process.execPath, ["--test", "--test-reporter=spec", ...files], { stdio: "inherit", cwd: here });
  process.exitCode = run.status ?? 1;
} finally {
  await rm(target, { recursive: true });
}
