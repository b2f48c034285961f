// uPlot, which comes as a classic script.

async function load() {
  if (globalThis.uPlot) return globalThis.uPlot;
  const script = document.createElement("script");
  script.src = new URL("./vendored/uPlot.iife.min.js", import.meta.url);
  await new Promise((resolve, reject) => {
    script.addEventListener("load", resolve);
    script.addEventListener("error", () => reject(new Error(`${script.src} can't be loaded; reload the page`)));
    document.head.append(script);
  });
  return globalThis.uPlot;
}

export const uPlot = await load();
