// Opens every page of a folder in Chromium, in a wide window, on a phone, in both themes and on paper, and prints what is
// wrong with it as JSON: page, view, complaint. Exits with 77 without playwright-core or Chromium.
import { existsSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

const CHROMIUM = "/usr/bin/chromium";
const MISSING = 77;

let chromium;
try {
  ({ chromium } = createRequire(import.meta.url)("playwright-core"));
} catch {
  process.exit(MISSING);
}
if (!existsSync(CHROMIUM)) process.exit(MISSING);

const VIEWS = [
  { name: "wide, light", colorScheme: "light", width: 1280 },
  { name: "phone, dark", colorScheme: "dark", width: 390 },
  { name: "paper", colorScheme: "dark", width: 800, media: "print" },
];

const browser = await chromium.launch({
  executablePath: CHROMIUM,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"],
});
const folder = resolve(process.argv[2]);
const pages = readdirSync(folder).filter((name) => name.endsWith(".html")).sort();
const found = [];
await Promise.all(pages.map(async (name) => {
  const url = pathToFileURL(resolve(folder, name)).href;
  for (const view of VIEWS) {
    const complain = (what) => found.push(`${name}, ${view.name}: ${what}`);
    const context = await browser.newContext({
      colorScheme: view.colorScheme, viewport: { width: view.width, height: 900 },
    });
    const page = await context.newPage();
    page.on("console", (message) => complain(`console: ${message.text()}`));
    page.on("pageerror", (error) => complain(`error: ${error.message}`));
    page.on("request", (request) => {
      if (request.url() !== url && !request.url().startsWith("data:")) complain(`request: ${request.url()}`);
    });
    if (view.media) await page.emulateMedia({ media: view.media });
    await page.goto(url);
    for (const what of await page.evaluate(inspect, view.width)) complain(what);
    await context.close();
  }
}));
await browser.close();
console.log(JSON.stringify({ pages: pages.length, found }));

// Runs in the page: text without contrast (WCAG 2.2, 1.4.3: 4.5 to 1) or too small, and a page wider than its window.
function inspect(width) {
  const found = [];
  const channels = (color) => {
    const numbers = color.match(/[\d.]+/g)?.map(Number) ?? [0, 0, 0, 0];
    return { rgb: numbers.slice(0, 3), alpha: numbers[3] ?? 1 };
  };
  const over = (top, opacity, below) => top.map((channel, k) => channel * opacity + below[k] * (1 - opacity));
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const background = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const { rgb, alpha } = channels(getComputedStyle(at).backgroundColor);
      if (alpha === 1) return rgb;
    }
    return [255, 255, 255];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let texts = 0;
  while (walker.nextNode()) {
    const text = walker.currentNode;
    const element = text.parentElement;
    const box = element.getBoundingClientRect();
    if (!text.data.trim() || box.width === 0 || box.height === 0) continue;
    texts += 1;
    const style = getComputedStyle(element);
    const inChart = element.ownerSVGElement;
    const { rgb, alpha } = channels(inChart ? style.fill : style.color);
    const below = background(element);
    const [high, low] = [over(rgb, alpha * Number(style.opacity), below), below].map(luminance).sort((a, b) => b - a);
    const contrast = (high + 0.05) / (low + 0.05);
    if (contrast < 4.5) found.push(`contrast of ${contrast.toFixed(1)}: ${text.data.trim()}`);
    const scale = inChart ? inChart.getScreenCTM().a : 1;
    const size = parseFloat(style.fontSize) * scale;
    if (size < 9) found.push(`text of ${size.toFixed(1)} px: ${text.data.trim()}`);
  }
  if (texts === 0) found.push("no text");
  const wide = document.scrollingElement.scrollWidth;
  if (wide > width) found.push(`${wide} px wide`);
  for (const svg of document.querySelectorAll("svg")) {
    if (!svg.querySelector("polyline, line, rect, circle")) found.push("an empty chart");
    const outer = svg.getBoundingClientRect();
    const labels = [...svg.querySelectorAll("text")].map((label) => {
      return { text: label.textContent.trim(), box: label.getBoundingClientRect() };
    });
    labels.forEach(({ text, box }, number) => {
      if (box.left < outer.left - 1 || box.right > outer.right + 1) found.push(`a label is cut: ${text}`);
      for (const { text: other, box: beside } of labels.slice(0, number)) {
        const apart = box.left >= beside.right || box.right <= beside.left || box.top >= beside.bottom - 2
          || box.bottom <= beside.top + 2;
        if (!apart) found.push(`labels overlap: ${other}, ${text}`);
      }
    });
  }
  return found;
}
