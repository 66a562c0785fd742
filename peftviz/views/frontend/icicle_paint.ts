/** How a piece of the memory map looks: a tone has a colour, a pattern and a sign, so that colour is never alone. */

interface Tone {
  name: "same" | "grown" | "shrunk" | "added" | "removed" | "left" | "base" | "adapter" | "saved" | "shared";
  sign: string;
  /** Colours by their names in the theme: of the ground, of the ink. */
  ground: string;
  ink: string;
  pattern: "" | "rising" | "falling" | "crossed" | "dots" | "lines";
  /** Whether it stands for one state or for two; for both when it is not said. */
  single?: boolean;
}

export const TONES: readonly Tone[] = [
  { name: "same", sign: "=", ground: "panel", ink: "ink", pattern: "", single: false },
  { name: "grown", sign: "+", ground: "panel", ink: "added", pattern: "", single: false },
  { name: "shrunk", sign: "−", ground: "panel", ink: "removed", pattern: "", single: false },
  { name: "added", sign: "+", ground: "added-ground", ink: "added", pattern: "rising", single: false },
  { name: "removed", sign: "−", ground: "removed-ground", ink: "removed", pattern: "falling", single: false },
  { name: "left", sign: "◆", ground: "red-ground", ink: "red", pattern: "crossed" },
  { name: "base", sign: "", ground: "panel", ink: "ink", pattern: "", single: true },
  { name: "adapter", sign: "", ground: "changed-ground", ink: "changed", pattern: "dots", single: true },
  { name: "saved", sign: "", ground: "moved-ground", ink: "moved", pattern: "lines", single: true },
  { name: "shared", sign: "", ground: "replaced-ground", ink: "replaced", pattern: "rising", single: true },
];

const at = (name: Tone["name"]): number => TONES.findIndex((tone) => tone.name === name);
const ADAPTER = 3;
const SAVED = 4;
const SHARED = 5;
const STRIP = 4;

/** The tone of a piece, as a place in `TONES`. */
export function toneOf(single: boolean, before: number, after: number, red: boolean, role: number): number {
  if (red) return at("left");
  if (single) return at(role === ADAPTER ? "adapter" : role === SAVED ? "saved" : role === SHARED ? "shared" : "base");
  if (!before) return at(after ? "added" : "same");
  if (!after) return at("removed");
  return at(after > before ? "grown" : after < before ? "shrunk" : "same");
}

export type Inks = Readonly<Record<string, string>>;

/** The colours of the theme as they are now. */
export function readInks(where: HTMLElement): Inks {
  const probe = getComputedStyle(where);
  const inks: Record<string, string> = {};
  // A canvas knows no custom properties and no color-mix(): each colour is computed by an element.
  const sample = document.createElement("span");
  where.append(sample);
  const names = new Set(["ground", "line", "quiet", "accent", "ink", ...TONES.flatMap(({ ground, ink }) => [ground, ink])]);
  for (const name of names) {
    sample.style.color = `var(--${name})`;
    inks[name] = getComputedStyle(sample).color;
  }
  sample.remove();
  inks.font = `12px ${probe.getPropertyValue("--code")}`;
  return inks;
}

export interface Piece {
  x: number;
  y: number;
  width: number;
  height: number;
  tone: number;
  /** The share that came or went, from -1 to 1. */
  change: number;
  label: string;
  chosen: boolean;
  focused: boolean;
}

export function paintPiece(pen: CanvasRenderingContext2D, inks: Inks, piece: Piece): void {
  const tone = TONES[piece.tone];
  const { x, y, width, height } = piece;
  const gap = width > 6 ? 1 : 0;
  pen.save();
  pen.beginPath();
  pen.rect(x, y, Math.max(width - gap, 0.5), height);
  pen.clip();
  pen.fillStyle = inks[tone.ground];
  pen.fillRect(x, y, width, height);
  if (tone.pattern) drawPattern(pen, tone.pattern, inks[tone.ink], x, y, width, height);
  if ((tone.name === "grown" || tone.name === "shrunk") && width > 2) {
    pen.fillStyle = inks[tone.ink];
    const part = Math.max(2, Math.abs(piece.change) * (width - gap));
    pen.fillRect(tone.name === "grown" ? x + width - gap - part : x, y + height - STRIP, part, STRIP);
  }
  if (piece.label && width > 26) write(pen, inks, tone, piece, gap);
  pen.restore();
  pen.strokeStyle = piece.chosen ? inks.accent : inks.line;
  pen.lineWidth = piece.focused ? 3 : piece.chosen ? 2 : 1;
  const inset = pen.lineWidth / 2;
  if (width > 2) pen.strokeRect(x + inset, y + inset, Math.max(width - gap - 2 * inset, 0.5), height - 2 * inset);
}

function write(pen: CanvasRenderingContext2D, inks: Inks, tone: Tone, piece: Piece, gap: number): void {
  pen.font = inks.font;
  pen.direction = "ltr";
  pen.textBaseline = "middle";
  const room = piece.width - gap - 12;
  const sign = tone.sign && tone.sign !== "=" ? `${tone.sign} ` : "";
  const one = pen.measureText("m").width;
  const fits = Math.floor(room / one);
  if (fits < 2) return;
  let text = sign + piece.label;
  if (text.length > fits) text = `${text.slice(0, Math.max(1, fits - 1))}…`;
  const used = Math.min(pen.measureText(text).width, room);
  if (tone.pattern) {
    pen.fillStyle = inks[tone.ground]; // a quiet ground for the text upon a pattern
    pen.fillRect(piece.x + 4, piece.y + 4, used + 4, piece.height - 8);
  }
  pen.fillStyle = inks[tone.ink];
  pen.fillText(text, piece.x + 6, piece.y + piece.height / 2, room);
}

function drawPattern(pen: CanvasRenderingContext2D, pattern: Tone["pattern"], ink: string, x: number, y: number, width: number, height: number): void {
  pen.strokeStyle = pen.fillStyle = ink;
  pen.lineWidth = 1;
  pen.globalAlpha = 0.38;
  const step = 7;
  const start = Math.floor(x / step) * step; // of the picture, not of the piece: patterns of neighbours meet
  pen.beginPath();
  for (let at = start - height; at < x + width + height; at += step) {
    if (pattern === "rising" || pattern === "crossed") {
      pen.moveTo(at, y + height);
      pen.lineTo(at + height, y);
    }
    if (pattern === "falling" || pattern === "crossed") {
      pen.moveTo(at, y);
      pen.lineTo(at + height, y + height);
    }
    if (pattern === "lines") {
      pen.moveTo(at, y);
      pen.lineTo(at, y + height);
    }
  }
  pen.stroke();
  if (pattern === "dots") {
    for (let at = start; at < x + width; at += step) for (let down = y + 4; down < y + height; down += step) pen.fillRect(at, down, 1.5, 1.5);
  }
  pen.globalAlpha = 1;
}
