"""The page on which a person signs in: by a link, whose secret stays in the browser's address, or by password."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, Response

from mainspring.edges.api.security import public

router = APIRouter(tags=["sign-in"], include_in_schema=False)
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'"
)
_PAGE: Final = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Sign in - Mainspring</title>
<link rel="stylesheet" href="sign-in.css">
<main>
  <h1>Mainspring</h1>
  <p id="said" role="status">Sign in to steer this installation.</p>
  <form id="form">
    <label>Name <input name="name" autocomplete="username" required autofocus></label>
    <label>Password <input name="password" type="password" autocomplete="current-password" required></label>
    <button>Sign in</button>
  </form>
</main>
<script src="sign-in.js"></script>
</html>
"""
_SCRIPT: Final = """\
"use strict";
const form = document.getElementById("form");
const said = document.getElementById("said");
async function send(path, body) {
  const answer = await fetch(path, {
    method: "POST", headers: {"Content-Type": "application/json", "X-Mainspring": "1"}, body: JSON.stringify(body),
  });
  if (answer.ok) {
    form.hidden = true;
    said.textContent = "You are signed in. The interface is at api/v1.";
    return;
  }
  const problem = await answer.json().catch(() => ({detail: "the server did not answer as expected"}));
  said.textContent = problem.detail;
  said.className = "wrong";
}
form.addEventListener("submit", (event) => {
  event.preventDefault();
  const given = new FormData(form);
  send("api/v1/sign-in", {name: given.get("name"), password: given.get("password")});
});
const secret = location.hash.slice(1);
if (secret) {
  history.replaceState(null, "", location.pathname);
  send("api/v1/sign-in/link", {secret});
}
"""
_STYLE: Final = """\
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { margin: 0; display: grid; min-height: 100vh; place-items: center; }
main { width: min(22rem, calc(100vw - 2rem)); }
h1 { font-size: 1.4rem; margin: 0 0 .5rem; }
form { display: grid; gap: .8rem; }
form[hidden] { display: none; }
label { display: grid; gap: .2rem; }
input, button { font: inherit; padding: .5rem .6rem; border: 1px solid GrayText; border-radius: .3rem; }
button { cursor: pointer; }
.wrong::before { content: "\\26A0 "; }
.wrong { font-weight: 600; }
"""


@router.get("/sign-in")
@public
async def page() -> HTMLResponse:
    """Return the page."""
    return HTMLResponse(_PAGE, headers={"Content-Security-Policy": _POLICY, "Cache-Control": "no-store"})


@router.get("/sign-in.js")
@public
async def script() -> Response:
    """Return its script: the policy of the page allows no other."""
    return Response(_SCRIPT, media_type="text/javascript")


@router.get("/sign-in.css")
@public
async def style() -> Response:
    """Return its looks."""
    return Response(_STYLE, media_type="text/css")
