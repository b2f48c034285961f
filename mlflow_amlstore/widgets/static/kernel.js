// What is asked of the kernel. While it works on a cell it may not answer; what it sends by itself comes all the same.

const SLOW_MS = 1000;

/** A function that asks the kernel of `model` and gives its answer. `whenSlow` is told whether one is waited for;
 * `end` of the function lets go of all that isn't answered. */
export function askingOf(model, whenSlow) {
  const open = new Map();
  const view = `${Date.now()}-${Math.random()}`;
  let last = 0;
  const answered = (message) => {
    const waiting = open.get(message?.id);
    if (!waiting) return;
    open.delete(message.id);
    clearTimeout(waiting.timer);
    if (!open.size) whenSlow(false);
    if ("error" in message) waiting.reject(new Error(message.error));
    else waiting.resolve(message.answer);
  };
  model.on("msg:custom", answered);
  const ask = (what, given = {}) =>
    new Promise((resolve, reject) => {
      const id = `${view} ${(last += 1)}`;
      const timer = setTimeout(() => what !== "hello" && whenSlow(true), SLOW_MS); // nobody waits for that
      open.set(id, { resolve, reject, timer });
      model.send({ id, ask: what, ...given });
    });
  ask.view = view;
  ask.end = () => {
    model.off("msg:custom", answered);
    for (const { timer } of open.values()) clearTimeout(timer);
    open.clear();
  };
  return ask;
}
