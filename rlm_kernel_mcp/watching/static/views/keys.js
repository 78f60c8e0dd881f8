// Keys. Is: one key for each way to move, outside of fields and without modifiers, and a switch that turns them off (WCAG
// 2.1.4). Is not: the only way: each has a button or a link. Above: `app.js`.
import { $ } from "../ground/dom.js";

const SETTING = "rlm-watch-keys";

/** `view`: the session that is shown, or null. */
export class Keys {
  constructor(view) {
    this.view = view;
    this.dialog = $("#keys");
    this.switch = $("#keys-on");
    this.switch.checked = stored() !== "off";
    this.switch.addEventListener("change", () => store(this.switch.checked ? "on" : "off"));
    $("#keys-close").addEventListener("click", () => this.dialog.close());
    addEventListener("keydown", (event) => this.#press(event));
  }

  show() {
    this.dialog.showModal();
  }

  #press(event) {
    const view = this.view();
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || !view || this.dialog.open) return;
    if (event.target.matches?.("input, textarea, select, [contenteditable]") || !this.switch.checked) return;
    const { steps } = view;
    const act = {
      j: () => steps.move(1),
      k: () => steps.move(-1),
      e: () => steps.nextWrong(),
      o: () => steps.outline(),
      f: () => steps.follow(),
      a: () => view.toTop(),
      "/": () => steps.find.input.focus(),
      "?": () => this.show(),
    }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }
}

// A browser may keep nothing for a page; then the switch holds as long as the page does.
function stored() {
  try {
    return localStorage.getItem(SETTING);
  } catch {
    return null;
  }
}

function store(value) {
  try {
    localStorage.setItem(SETTING, value);
  } catch {
    // as above
  }
}
