"""A Hub on 127.0.0.1: as much of the HTTP API as the real clients speak when they push and load."""

import base64
import contextlib
import hashlib
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from listing import File, entries, metadata_errors, upload_mode

WRITER, READER = "hf_writer", "hf_reader"  # tokens of the user `tester`; the second may only read
USER = "tester"
_PAGE = 3  # entries a page of a tree: few, so that pages are followed


@dataclass
class Repo:
    kind: str
    name: str
    private: bool
    trees: dict[str, dict[str, File]] = field(default_factory=dict)  # commit -> path -> file
    branches: dict[str, str] = field(default_factory=dict)
    titles: list[str] = field(default_factory=list)

    def commit(self, branch: str, files: dict[str, File], title: str) -> str:
        text = json.dumps([self.branches.get(branch), len(self.trees), title, sorted(files)])
        sha = hashlib.sha1(text.encode()).hexdigest()
        self.trees[sha], self.branches[branch] = files, sha
        self.titles.append(title)
        return sha


class Answer(Exception):
    """An answer that ends a request before its handler does."""

    def __init__(self, status: int, message: str = "", code: str = "") -> None:
        self.status, self.message, self.code = status, message, code


class LocalHub:
    """Repositories of one user, in memory, content-addressed; `faults` break connections.

    Attributes:
        repos: By (`"datasets"` or `"models"`, name).
        blobs: Bytes by hash, of git and of LFS.
        requests: `"METHOD path"` of every request, in order.
        created: Body of every request that creates a repository.
        meanwhile: What happens before the next commits, one each.
    """

    def __init__(self) -> None:
        self.repos: dict[tuple[str, str], Repo] = {}
        self.blobs: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.created: list[dict[str, Any]] = []
        self.faults: list[tuple[str, int | None]] = []
        self.meanwhile: list[Callable[[], None]] = []
        self.lock = threading.RLock()
        hub = self

        class Bound(_Handler):
            pass

        Bound.hub = hub
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Bound)
        self.server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    @property
    def storage(self) -> str:
        """Where large files lie: another host for the clients, which send no token there."""
        return f"http://localhost:{self.server.server_port}"

    def __enter__(self) -> "LocalHub":
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.server.shutdown()
        self.server.server_close()

    def break_upload(self, after: int, times: int = 1) -> None:
        """Drop the connection of the next uploads of large files after so many bytes."""
        self.faults += [("upload", after)] * times

    def break_commit(self, *, skip: int = 0, done: bool = False) -> None:
        """Drop the connection of a commit to come, before it is made or before it is answered."""
        kind = "answer" if done else "commit"
        self.faults += [(kind, None)] * skip + [(kind, 0)]

    def fault(self, kind: str) -> int | None:
        """After how many bytes to drop the connection, or None to let it be."""
        with self.lock:
            found = next((fault for fault in self.faults if fault[0] == kind), None)
            if found is None:
                return None
            self.faults.remove(found)
            return found[1]

    def edit(self, kind: str, name: str, path: str, content: str, branch: str = "main") -> None:
        """A commit by somebody else."""
        repo = self.repos[kind, name]
        files = {**repo.trees[repo.branches[branch]], path: self.add(content.encode())}
        repo.commit(branch, files, f"edit {path}")

    def files(self, kind: str, name: str, branch: str = "main") -> dict[str, bytes]:
        """The content of a branch."""
        repo = self.repos[kind, name]
        return {path: self.content(file) for path, file in repo.trees[repo.branches[branch]].items()}

    def content(self, file: File) -> bytes:
        return self.blobs[file.lfs or file.blob]

    def add(self, content: bytes, lfs: bool = False) -> File:
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        sha256 = hashlib.sha256(content).hexdigest() if lfs else None
        self.blobs[sha256 or blob] = content
        return File(blob, len(content), sha256)


class _Handler(BaseHTTPRequestHandler):
    hub: LocalHub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: Any) -> None:
        pass

    def handle(self) -> None:
        with contextlib.suppress(OSError):  # of a connection that was dropped on purpose
            super().handle()

    def do_GET(self) -> None:
        self.answer()

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET

    def answer(self) -> None:
        address = urlsplit(self.path)
        self.hub.requests.append(f"{self.command} {unquote(address.path)}")
        self.query = {name: values[-1] for name, values in parse_qs(address.query).items()}
        parts = [unquote(part) for part in address.path.strip("/").split("/")]
        try:
            if self.command == "PUT":
                return self.upload(parts[1])
            length = int(self.headers.get("Content-Length") or 0)
            self.body = self.rfile.read(length)
            user = self.user()
            with self.hub.lock:
                self.route(parts, user)
        except Answer as error:
            headers = {"X-Error-Code": error.code} if error.code else {}
            self.send(error.status, {"error": error.message}, headers | {"X-Error-Message": error.message})

    def user(self) -> str | None:
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if token and token not in (WRITER, READER):
            raise Answer(401, "Invalid credentials in Authorization header")
        return token or None

    def route(self, parts: list[str], user: str | None) -> None:
        match parts:
            case ["api", "whoami-v2"]:
                if user is None:
                    raise Answer(401, "Invalid username or password.")
                self.send(200, {"type": "user", "name": USER, "orgs": [], "auth": {"type": "access_token"}})
            case ["api", "validate-yaml"]:
                errors = metadata_errors(json.loads(self.body)["content"])
                self.send(400 if errors else 200, {"errors": [{"message": e} for e in errors], "warnings": []})
            case ["api", "repos", "create"]:
                self.create(user)
            case ["api", ("datasets" | "models") as kind, owner, name, *rest]:
                self.of_repo(self.repo(kind, f"{owner}/{name}", user), rest, user)
            case ["datasets", owner, name, "info", "lfs", "objects", "batch"]:
                self.batch(self.repo("datasets", f"{owner}/{name.removesuffix('.git')}", user), user)
            case [owner, name, "info", "lfs", "objects", "batch"]:
                self.batch(self.repo("models", f"{owner}/{name.removesuffix('.git')}", user), user)
            case ["_lfs", "verify"]:
                wanted = json.loads(self.body)
                if len(self.hub.blobs.get(wanted["oid"], b"")) != wanted["size"]:
                    raise Answer(404, "object is not there")
                self.send(200, {})
            case ["_lfs", oid]:
                self.send_bytes(self.hub.blobs[oid], {"ETag": f'"{oid}"'})
            case ["datasets", owner, name, "resolve", revision, *path]:
                self.resolve(self.repo("datasets", f"{owner}/{name}", user), revision, "/".join(path))
            case [owner, name, "resolve", revision, *path]:
                self.resolve(self.repo("models", f"{owner}/{name}", user), revision, "/".join(path))
            case _:
                raise Answer(404, f"no such endpoint: {self.path}")

    def repo(self, kind: str, name: str, user: str | None) -> Repo:
        repo = self.hub.repos.get((kind, name))
        if repo is None or (repo.private and user is None):
            # The Hub does not tell strangers which names are taken.
            raise Answer(401 if user is None else 404, "Repository not found", "RepoNotFound")
        return repo

    def create(self, user: str | None) -> None:
        self.writes(user)
        body = json.loads(self.body)
        self.hub.created.append(body)
        kind, name = f"{body.get('type') or 'model'}s", f"{body.get('organization') or USER}/{body['name']}"
        if not name.startswith(f"{USER}/"):
            raise Answer(403, "You don't have the rights to create a repository under this namespace")
        url = f"{self.hub.url}/{'datasets/' if kind == 'datasets' else ''}{name}"
        if (kind, name) in self.hub.repos:
            return self.send(409, {"error": "You already created this repository", "url": url})
        private = bool(body.get("private")) or body.get("visibility") == "private"
        repo = self.hub.repos[kind, name] = Repo(kind, name, private)
        repo.commit("main", {".gitattributes": self.hub.add(b"*.parquet filter=lfs\n")}, "initial commit")
        self.send(200, {"url": url, "name": name, "id": name})

    def writes(self, user: str | None) -> None:
        if user != WRITER:
            raise Answer(401 if user is None else 403, "You are not allowed to write here")

    def of_repo(self, repo: Repo, rest: list[str], user: str | None) -> None:
        match rest:
            case [] | ["revision", _]:
                sha = self.sha(repo, rest[1] if rest else "main")
                siblings = [{"rfilename": path} for path in repo.trees[sha]]
                answer = {"id": repo.name, "sha": sha, "private": repo.private, "siblings": siblings, "tags": []}
                self.send(200, answer)
            case ["refs"]:
                heads = [{"name": n, "ref": f"refs/heads/{n}", "targetCommit": c} for n, c in repo.branches.items()]
                self.send(200, {"branches": heads, "converts": [], "tags": [], "pullRequests": []})
            case ["branch", branch]:
                self.writes(user)
                if branch in repo.branches:
                    raise Answer(409, "Reference already exists")
                repo.branches[branch] = self.sha(repo, json.loads(self.body or b"{}").get("startingPoint", "main"))
                self.send(200, {})
            case ["preupload", revision]:
                self.writes(user)
                tree = repo.trees[self.sha(repo, revision)]
                self.send(200, {"files": [upload_mode(one, tree) for one in json.loads(self.body)["files"]]})
            case ["commit", branch]:
                self.writes(user)
                self.commit(repo, branch)
            case ["tree", revision, *path]:
                self.tree(repo, revision, "/".join(path))
            case ["paths-info", revision]:
                tree = repo.trees[self.sha(repo, revision)]
                wanted = parse_qs(self.body.decode())["paths"]
                self.send(200, [entry for entry in entries(tree) if entry["path"] in wanted])
            case _:
                raise Answer(404, f"no such endpoint: {self.path}")

    def sha(self, repo: Repo, revision: str) -> str:
        sha = repo.branches.get(revision, revision)
        if sha not in repo.trees:
            raise Answer(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return sha

    def batch(self, repo: Repo, user: str | None) -> None:
        self.writes(user)
        objects = []
        for wanted in json.loads(self.body)["objects"]:
            actions = {
                "upload": {"href": f"{self.hub.storage}/_lfs/{wanted['oid']}"},
                "verify": {"href": f"{self.hub.url}/_lfs/verify"},
            }
            there = wanted["oid"] in self.hub.blobs
            objects.append({"oid": wanted["oid"], "size": wanted["size"], **({} if there else {"actions": actions})})
        self.send(200, {"transfer": "basic", "objects": objects})

    def upload(self, oid: str) -> None:
        length, received = int(self.headers["Content-Length"]), b""
        after = self.hub.fault("upload")
        while len(received) < length:
            received += self.rfile.read(min(1 << 16, length - len(received), after or 1 << 16))
            if after is not None and len(received) >= after:
                return self.drop()
        if hashlib.sha256(received).hexdigest() != oid:
            raise Answer(422, "content does not have this hash")
        with self.hub.lock:
            self.hub.blobs[oid] = received
        self.send(200, {})

    def commit(self, repo: Repo, branch: str) -> None:
        if self.hub.fault("commit") is not None:
            return self.drop()
        if self.hub.meanwhile:
            self.hub.meanwhile.pop(0)()
        lines = [json.loads(line) for line in self.body.splitlines()]
        header = lines[0]["value"]
        head = self.sha(repo, branch)
        if header.get("parentCommit", head) != head:
            raise Answer(412, "A commit has happened since. Please refresh and try again.")
        files = dict(repo.trees[head])
        for line in lines[1:]:
            value = line["value"]
            match line["key"]:
                case "file":
                    files[value["path"]] = self.hub.add(base64.b64decode(value["content"]))
                case "lfsFile":
                    if value["oid"] not in self.hub.blobs:
                        raise Answer(400, f"LFS object of {value['path']} was not uploaded")
                    files[value["path"]] = self.hub.add(self.hub.blobs[value["oid"]], lfs=True)
                case "deletedFile":
                    if files.pop(value["path"], None) is None:
                        raise Answer(404, "A file with this name doesn't exist", "EntryNotFound")
                case "deletedFolder":
                    files = {path: f for path, f in files.items() if not path.startswith(f"{value['path']}/")}
                case key:
                    raise Answer(400, f"unknown operation {key}")
        sha = repo.commit(branch, files, header["summary"])
        if self.hub.fault("answer") is not None:
            return self.drop()
        place = f"{'datasets/' if repo.kind == 'datasets' else ''}{repo.name}"
        self.send(200, {"success": True, "commitOid": sha, "commitUrl": f"{self.hub.url}/{place}/commit/{sha}"})

    def tree(self, repo: Repo, revision: str, folder: str) -> None:
        found = entries(repo.trees[self.sha(repo, revision)])
        if folder:
            if not any(entry["path"] == folder and entry["type"] == "directory" for entry in found):
                raise Answer(404, f"{folder} does not exist", "EntryNotFound")
            found = [entry for entry in found if entry["path"].startswith(f"{folder}/")]
        if self.query.get("recursive", "").lower() != "true":
            depth = folder.count("/") + 1 if folder else 0
            found = [entry for entry in found if entry["path"].count("/") == depth]
        start = int(self.query.get("cursor", 0))
        headers = {}
        if start + _PAGE < len(found):
            recursive = self.query.get("recursive", "False")
            path = urlsplit(self.path).path
            headers["Link"] = f'<{self.hub.url}{path}?recursive={recursive}&cursor={start + _PAGE}>; rel="next"'
        self.send(200, found[start : start + _PAGE], headers)

    def resolve(self, repo: Repo, revision: str, path: str) -> None:
        sha = self.sha(repo, revision)
        file = repo.trees[sha].get(path)
        headers = {"X-Repo-Commit": sha}
        if file is None:
            headers |= {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"}
            return self.send(404, {"error": "Entry not found"}, headers)
        if file.lfs is None:
            return self.send_bytes(self.hub.content(file), headers | {"ETag": f'"{file.blob}"'})
        headers |= {"X-Linked-Etag": f'"{file.lfs}"', "X-Linked-Size": str(file.size)}
        self.send(302, None, headers | {"Location": f"{self.hub.storage}/_lfs/{file.lfs}"})

    def send_bytes(self, content: bytes, headers: dict[str, str]) -> None:
        status, headers = 200, {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream", **headers}
        if (wanted := self.headers.get("Range", "")).startswith("bytes="):
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, stop = int(first), min(int(last) + 1 if last else len(content), len(content))
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
            status, content = 206, content[start:stop]
        self.write(status, content, headers)

    def send(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
        content = b"" if value is None else json.dumps(value).encode()
        self.write(status, content, {"Content-Type": "application/json", **(headers or {})})

    def write(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, text in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def drop(self) -> None:
        self.close_connection = True
        self.connection.shutdown(2)
