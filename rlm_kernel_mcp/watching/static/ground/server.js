// Whom the page asks. Is: GET on its own server, below its own address. Is not: an address out of foreign text: ids and
// numbers go in as parameters. Above: `views/`, `app.js`.

export class Server {
  address(path, query = {}) {
    const address = new URL(path, new URL(".", location.href));
    for (const [name, value] of Object.entries(query)) if (value != null) address.searchParams.set(name, value);
    return address.href;
  }

  async get(path, query) {
    const answer = await fetch(this.address(path, query));
    if (!answer.ok) throw new Error(await whyNot(answer));
    return answer.json();
  }
}

async function whyNot(answer) {
  const said = await answer.json().catch(() => null);
  return said?.error ?? `the server said ${answer.status}`;
}
