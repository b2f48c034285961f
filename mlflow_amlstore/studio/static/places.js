// A page that is left and come back to is where it was: also where parts of it scroll by themselves.

const PARTS = ".split > *, .scroll, .charts";

/** Starts: brings back what this entry of the history kept, and keeps it when the page is left. */
export function start() {
  const kept = history.state?.studioPlaces;
  if (kept) {
    document.querySelectorAll(PARTS).forEach((part, index) => {
      [part.scrollLeft, part.scrollTop] = kept[index] ?? [0, 0];
    });
  }
  addEventListener("pagehide", () => {
    const places = [...document.querySelectorAll(PARTS)].map((part) => [part.scrollLeft, part.scrollTop]);
    history.replaceState({ ...history.state, studioPlaces: places }, "");
  });
}
