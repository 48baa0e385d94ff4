"""Fixtures: the page's folder behind a local server, a headless Chromium, the native command, and images that are made here.

Environment: CAUSALCLIPSEG, the native command; CAUSALCLIPSEG_WEB, the folder that `web/build` made; CHROMIUM and CHROMEDRIVER, where
they aren't on the path.
"""

import contextlib
import functools
import http.server
import json
import os
import pathlib
import shutil
import subprocess
import threading

import numpy
import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

REPOSITORY = pathlib.Path(__file__).parents[2]
PHANTOM = REPOSITORY / "docs/images/phantom.png"


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves the folder and keeps what was asked for."""

    extensions_map = {**http.server.SimpleHTTPRequestHandler.extensions_map, ".wasm": "application/wasm", ".js": "text/javascript"}

    def log_message(self, *_):
        self.server.requested.append(self.path)


class PageServer:
    def __init__(self, folder):
        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder))
        self.http.requested = []
        self.address = f"http://127.0.0.1:{self.http.server_port}/"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    @property
    def requested(self):
        return self.http.requested

    def stop(self):
        self.http.shutdown()
        self.http.server_close()


def environment(name, default):
    path = pathlib.Path(os.environ.get(name, default))
    if not path.exists():
        pytest.exit(f"{path} is missing: set {name}", returncode=2)
    return path


@pytest.fixture(scope="session")
def command():
    return environment("CAUSALCLIPSEG", REPOSITORY / "target/debug/causalclipseg")


@pytest.fixture(scope="session")
def folder():
    return environment("CAUSALCLIPSEG_WEB", REPOSITORY / "target/causalclipseg-web")


@pytest.fixture
def server(folder):
    server = PageServer(folder)
    yield server
    with contextlib.suppress(Exception):
        server.stop()


@pytest.fixture
def browser_with():
    """Starts Chromium with flags; V8's own go into `v8`."""
    browsers = []

    def start(*flags, v8=()):
        options = webdriver.ChromeOptions()
        options.binary_location = os.environ.get("CHROMIUM") or shutil.which("chromium")
        always = ["--headless=new", "--no-sandbox", "--window-size=1100,1000", "--disable-dev-shm-usage", "--force-prefers-reduced-motion"]
        for flag in [*always, *flags]:
            options.add_argument(flag)
        if v8:
            options.add_argument(f"--js-flags={','.join(v8)}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        driver = os.environ.get("CHROMEDRIVER") or shutil.which("chromedriver")
        browser = webdriver.Chrome(options=options, service=Service(driver))
        browser.set_script_timeout(120)
        browsers.append(browser)
        return browser

    yield start
    for browser in browsers:
        browser.quit()


@pytest.fixture
def native(command, tmp_path):
    """Segments a file with the native command: masks and JSON, one a prompt and frame."""

    def run(path, prompts):
        out = tmp_path / "native"
        shutil.rmtree(out, ignore_errors=True)
        arguments = [part for prompt in prompts for part in ("-p", prompt)]
        subprocess.run([command, "segment", path, *arguments, "-o", out, "--format", "mask,json"], check=True, capture_output=True)
        masks = {file.name: numpy.asarray(Image.open(file)) for file in sorted(out.rglob("*_mask.png"))}
        records = {file.name: json.loads(file.read_text()) for file in sorted(out.rglob("*.json"))}
        return masks, records

    return run
