"""The page as its tests use it."""

import base64
import time

import numpy
from selenium.webdriver.common.by import By


class Page:
    def __init__(self, browser, address, wait=True):
        self.browser = browser
        browser.get(address)
        if wait:
            self.wait_for(lambda: self.status.startswith("Ready") or self.problem, "the model")
            assert not self.problem, self.problem

    def element(self, name):
        return self.browser.find_element(By.ID, name)

    @property
    def status(self):
        return self.element("status").text

    @property
    def problem(self):
        return self.element("problem").text

    def wait_for(self, condition, what, seconds=90):
        end = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < end, f"{what} did not come; status `{self.status}`, problem `{self.problem}`, log {self.log()}"
            time.sleep(0.05)
        return value

    def log(self):
        return self.browser.get_log("browser")

    def write_prompts(self, *prompts):
        field = self.element("prompts")
        field.clear()
        field.send_keys("\n".join(prompts))

    def choose(self, path):
        """Chooses a file and waits for its result or a problem."""
        self.forget()
        self.element("file").send_keys(str(path))
        self.wait_for(lambda: self.has_result() or self.problem, "a result")

    def drop(self, path):
        """Drops a file on the page, as the system's file manager does."""
        self.forget()
        data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.browser.execute_cdp_cmd("Input.dispatchDragEvent", {"type": kind, "x": 300, "y": 300, "data": data})
        self.wait_for(lambda: self.has_result() or self.problem, "a result")

    def forget(self):
        """Marks the present result, to tell a new one."""
        self.browser.execute_script("globalThis.seen = causalclipseg.shown;")

    def has_result(self):
        return self.browser.execute_script("return causalclipseg.shown !== null && causalclipseg.shown !== globalThis.seen;")

    def report(self):
        """The last result without pixels."""
        return self.browser.execute_script(
            "const { pixels, findings, ...rest } = causalclipseg.shown;"
            "return { ...rest, findings: findings.map(({ mask, ...finding }) => finding) };"
        )

    def mask(self, index):
        """A mask of the last result, height x width."""
        text = self.browser.execute_script(
            "const { mask } = causalclipseg.shown.findings[arguments[0]]; let text = '';"
            "for (let at = 0; at < mask.length; at += 8192) text += String.fromCharCode(...mask.subarray(at, at + 8192));"
            "return btoa(text);",
            index,
        )
        report = self.report()
        return numpy.frombuffer(base64.b64decode(text), numpy.uint8).reshape(report["height"], report["width"])
