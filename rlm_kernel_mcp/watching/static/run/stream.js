// The stream of one page, over as many connections as it takes. Is: an EventSource that is opened again where the browser
// gives up, and closed where nobody looks. Is not: a reader of what comes. Above: `views/session.js`, `views/sessions.js`.

const HIDDEN_MS = 60_000; // six streams are all that a browser has for one server
const CLOSED = 2;
const AGAIN_MS = [2_000, 5_000, 10_000, 30_000];

export class Stream {
  /** `address`: of the stream, given the last id. `onState`: "live", "lost", "refused", "paused" or "ended", as it changes. */
  constructor(address, { onMessage, onState, hiddenMs = HIDDEN_MS, Source = EventSource }) {
    Object.assign(this, { address, onMessage, onState, hiddenMs, Source });
    this.lastId = null;
    this.failures = 0;
    this.watchHiding = () => this.#visibility();
    document.addEventListener("visibilitychange", this.watchHiding);
    this.#connect();
  }

  /** Nothing more is wanted. */
  close(state) {
    document.removeEventListener("visibilitychange", this.watchHiding);
    clearTimeout(this.hiding);
    this.#disconnect();
    if (state) this.#say(state);
  }

  #connect() {
    const source = new this.Source(this.address(this.lastId));
    this.source = source;
    source.onopen = () => {
      this.failures = 0;
      this.#say("live");
    };
    source.onmessage = (message) => {
      if (message.lastEventId) this.lastId = message.lastEventId;
      this.onMessage(JSON.parse(message.data));
    };
    source.onerror = () => {
      if (source.readyState !== CLOSED) return this.#say("lost"); // it tries again by itself, after the last id
      this.#say("refused");
      const wait = AGAIN_MS[Math.min(this.failures, AGAIN_MS.length - 1)];
      this.failures += 1;
      this.again = setTimeout(() => this.#connect(), wait);
      return undefined;
    };
  }

  #disconnect() {
    clearTimeout(this.again);
    this.source?.close();
    this.source = null;
  }

  #visibility() {
    clearTimeout(this.hiding);
    if (document.visibilityState === "hidden") this.hiding = setTimeout(() => this.#pause(), this.hiddenMs);
    else if (this.source === null) this.#connect();
  }

  #pause() {
    this.#disconnect();
    this.#say("paused");
  }

  #say(state) {
    if (state === this.state) return;
    this.state = state;
    this.onState(state);
  }
}
