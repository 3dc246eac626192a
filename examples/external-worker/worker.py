#!/usr/bin/env python3
"""An external worker of a pipelined cluster, in Python's standard library alone. README.md explains it."""
import argparse, atexit, datetime, hashlib, hmac, http.client, http.server, json, os, pathlib, platform, re, shutil
import signal, subprocess, sys, tempfile, threading, time, urllib.request
flags = argparse.ArgumentParser(description=__doc__, epilog="PIPELINED_TOKEN holds a token of role worker.")
flags.add_argument("nodes", nargs="+", help="http://HOST:PORT of several nodes; https ones need SSL_CERT_FILE")
flags.add_argument("--bind", default="127.0.0.1:9090", help="HOST:PORT where the cluster reaches this program")
flags.add_argument("--name", default="python-" + platform.node().split(".")[0], help="under which it registers")
flags.add_argument("--tag", action="append", required=True, help="what modules ask for with requires.tags; may be repeated")
flags.add_argument("--slots", type=int, default=2, help="modules at the same time")
args = flags.parse_args()
nodes, executions, me, TOKEN = list(args.nodes), {}, {"id": None, "secret": os.urandom(32), "every": 1}, os.environ["PIPELINED_TOKEN"]
NETWORK = (OSError, http.client.HTTPException)
def now(): return datetime.datetime.now(datetime.timezone.utc)
def seconds(text): return sum(float(x) * f for x, f in zip((text or "0:0:0").split(":"), (3600, 60, 1)))  # hh:mm:ss.fff

def call(method, path, body=None, tries=12):  # any node takes any request, so one that fails is passed over
    head = {"Authorization": "Bearer " + TOKEN, "Content-Type": "application/json" if method == "POST" else "application/octet-stream"}
    for n in range(1, tries + 1):
        try: return urllib.request.urlopen(urllib.request.Request(nodes[0] + path, body, head, method=method), timeout=10).read()
        except NETWORK as e:
            if n == tries or getattr(e, "code", 503) < 500 and e.code != 429: raise
            nodes.append(nodes.pop(0))
            time.sleep(min(2, 0.05 * 2 ** n))
def post(path, **doc): return json.loads(call("POST", path, json.dumps(doc).encode()))
def get(digest):
    data = call("GET", "/api/v1/blobs/" + digest)
    if hashlib.sha256(data).hexdigest() != digest: raise ValueError("blob %s arrived damaged" % digest)
    return data
def put(data):
    call("PUT", "/api/v1/blobs/" + hashlib.sha256(data).hexdigest(), data)
    return hashlib.sha256(data).hexdigest()

def inside(root, path):  # refuses what would leave the module's directory
    if not path or path[0] == "/" or "\0" in path or ".." in path.split("/"): raise ValueError("unsafe path %r" % path)
    return root / path
def lay_out(tree, root):
    for e in json.loads(get(tree)):
        to = inside(root, e["path"])
        if e.get("link"): raise ValueError("%s is a symbolic link, which this worker does not lay out" % e["path"])
        (to if e.get("dir") else to.parent).mkdir(parents=True, exist_ok=True)
        if not e.get("dir"): to.write_bytes(get(e["digest"])), to.chmod(e["mode"] & 0o777)
def collect(globs, root):  # the outputs' files as blobs, and their list as a tree
    kept = {}
    for glob, away in ((g.removeprefix("!"), g[:1] == "!") for g in globs):  # "!" takes away what those before it match
        found = inside(root, glob) and root.glob(glob + "/*" if glob.endswith("**") else glob)
        found = {f.relative_to(root).as_posix(): f for f in found if f.is_file() and not f.is_symlink()}
        if not found and not away: raise ValueError("outputs: %r matches no file" % glob)
        kept = {p: f for p, f in kept.items() if p not in found} if away else kept | found
    return put(json.dumps([{"path": p, "mode": f.stat().st_mode & 0o777, "size": f.stat().st_size, "digest": put(f.read_bytes())}
                           for p, f in sorted(kept.items())]).encode()) if kept else ""
def results(text):  # of $PIPELINED_OUTPUT: one JSON object, or key=value and key<<END … END
    if len(text) > 64 << 10: raise ValueError("the results have more than 64 KiB")
    if text.lstrip().startswith("{"): return json.loads(text)
    return {k: many[:-1] if end else one for k, one, end, many in re.findall(r"^([^=<\s]+)(?:=(.*)|<<(\S+)\n((?:.*\n)*?)\3)$", text, re.M)}
class Execution(threading.Thread):  # alive until the cluster has committed its answer
    def __init__(self, req):
        super().__init__(daemon=True)
        self.req, self.told, self.process, self.cancelled = req, {}, None, threading.Event()
    def run(self):
        start, base, module, committed = now(), pathlib.Path(tempfile.mkdtemp(prefix="pipelined-")), self.req["serializedModule"], False
        try: error, kind = self.execute(base, json.loads(module) if isinstance(module, str) else module)
        except Exception as e: error, kind = str(e), "Failed"  # whatever went wrong is the module's answer, not our end
        shutil.rmtree(base, ignore_errors=True)
        answer = {"executionId": self.req["executionId"], "workerId": me["id"], "success": not error, "errorMessage": error,
                  "exceptionType": kind, "startTime": start.isoformat(), "endTime": now().isoformat(),
                  "duration": "0" + str(now() - start), "serializedResult": json.dumps(self.told)}
        while not committed:
            try: committed = post("/api/execution/result", **answer)["committed"] or time.sleep(0.3)
            except NETWORK as e: committed = getattr(e, "code", 503) in (403, 404, 409) or time.sleep(1)  # nothing waits for it
    def execute(self, base, m):
        work, env = base / "work", {"PATH": os.environ["PATH"], **(self.req.get("environmentVariables") or {})}
        env.update(HOME=str(base / "home"), TMPDIR=str(base / "tmp"), PIPELINED_OUTPUT=str(base / "output"), PIPELINED_WORKSPACE=str(work), PIPELINED_WORKER=args.name)
        for directory in ("work", "home", "tmp"): (base / directory).mkdir()
        for file in ("script", "output"): (base / file).write_text(m.get(file) or ""), (base / file).chmod(0o700)
        if m.get("inputs"): lay_out(m["inputs"], work)
        command = m.get("command") or ([] if m["script"].startswith("#!") else ["sh", "-eu"]) + [str(base / "script")]
        with open(base / "log", "wb") as log:
            p = self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env,
                cwd=inside(work, self.req.get("workingDirectory") or "."), start_new_session=True)
        late, grace = time.monotonic() + (seconds(m.get("timeout")) or 1e9), seconds(m.get("grace")) or 10
        while p.poll() is None and time.monotonic() < late and not self.cancelled.wait(0.02): pass
        stopped = "Cancelled" if self.cancelled.is_set() else "TimedOut" if p.poll() is None else ""
        for sig, wait in ((signal.SIGTERM, grace), (signal.SIGKILL, 10)):  # also after a good end: nothing stays behind
            try: os.killpg(p.pid, sig), p.wait(wait)
            except (ProcessLookupError, subprocess.TimeoutExpired): pass
        self.told.update(exitCode=p.wait(), log=put((base / "log").read_bytes()))
        if stopped or p.returncode: return stopped or "exit code %d" % p.returncode, stopped or "Failed"
        self.told.update(result=results((base / "output").read_text()), outputs=collect(m.get("outputs") or [], work))
        return "", ""
class Handler(http.server.BaseHTTPRequestHandler):
    def reply(self, code, **doc):
        self.send_response(code), self.send_header("Content-Type", "application/json"), self.end_headers()
        self.wfile.write(json.dumps(doc).encode())
    def do_GET(self): self.reply(200 if self.path == "/api/health" else 404, status="healthy", nodeId=me["id"], mode="worker")
    def do_POST(self):
        if not hmac.compare_digest((self.headers.get("Authorization") or "").encode(), b"Bearer " + me["secret"]): return self.reply(401, success=False)
        if (size := int(self.headers.get("Content-Length") or 0)) > 16 << 20: return self.reply(413, success=False)
        req = json.loads(self.rfile.read(size))
        known, fresh = executions.get(req["executionId"]), Execution(req)
        if self.path == "/api/execution/cancel":
            if known: known.cancelled.set()
            return self.reply(200 if known else 404, success=bool(known), errorMessage="" if known else "no such execution")
        if executions.setdefault(req["executionId"], fresh) is fresh: fresh.start()  # the same id again starts nothing
        self.reply(202, executionId=req["executionId"], workerId=me["id"])
def beat():  # registers, too, where the cluster does not know us (any more)
    load, stamp = sum(e.is_alive() for e in list(executions.values())), now().isoformat()
    if me["id"] and post("/api/workers/heartbeat", workerId=me["id"], currentLoad=load, timestamp=stamp)["acknowledged"]: return
    answer = post("/api/workers/register", timestamp=stamp, workerNode={"id": args.name, "name": args.name, "status": "Online",
        "endpoint": "http://" + args.bind, "currentLoad": load,
        "capabilities": {"os": sys.platform, "installedTools": ["sh", "python3"], "maxParallelModules": args.slots, "tags": args.tag}})
    me.update(id=answer["workerId"], secret=answer["secret"].encode(), every=answer["heartbeatIntervalSeconds"])
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
atexit.register(lambda: [os.killpg(e.process.pid, 9) for e in executions.values() if e.process and e.process.poll() is None])
host, port = args.bind.rsplit(":", 1)
threading.Thread(target=http.server.ThreadingHTTPServer((host, int(port)), Handler).serve_forever, daemon=True).start()
while True:
    try: beat()
    except NETWORK as e: print("no node answers:", e, file=sys.stderr, flush=True)
    time.sleep(me["every"])
