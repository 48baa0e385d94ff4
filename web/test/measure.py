"""Times frames of the page in Chromium, and takes a picture of it.

    measure.py [--frames N] [--steps] [--picture FILE] [--v8 FLAG...]   (environment: see conftest.py)
"""

import argparse
import os
import pathlib
import shutil
import statistics

from conftest import PHANTOM, REPOSITORY, PageServer
from page import Page
from selenium import webdriver
from selenium.webdriver.chrome.service import Service


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--steps", action="store_true", help="the time of each step of the network")
    parser.add_argument("--picture", type=pathlib.Path)
    parser.add_argument("--v8", nargs="*", default=[])
    arguments = parser.parse_args()
    options = webdriver.ChromeOptions()
    options.binary_location = os.environ.get("CHROMIUM") or shutil.which("chromium")
    for flag in ("--headless=new", "--no-sandbox", "--window-size=1100,1180", "--disable-dev-shm-usage"):
        options.add_argument(flag)
    if arguments.v8:
        options.add_argument(f"--js-flags={','.join(arguments.v8)}")
    server = PageServer(os.environ.get("CAUSALCLIPSEG_WEB", REPOSITORY / "target/causalclipseg-web"))
    browser = webdriver.Chrome(options=options, service=Service(os.environ.get("CHROMEDRIVER") or shutil.which("chromedriver")))
    try:
        browser.set_script_timeout(600)
        page = Page(browser, server.address)
        page.write_prompts("a nodule near the bottom of the image")
        page.choose(PHANTOM)
        assert not page.problem, page.problem
        run = "const done = arguments[arguments.length - 1]; causalclipseg.engine.call('measure', { frames: arguments[0] }).then(done, (error) => done({ error: error.message }));"
        # The browser compiles a module twice: quickly, then well.
        browser.execute_async_script(run, 30)
        measured = browser.execute_async_script(run, arguments.frames)
        times = sorted(measured["times"])
        print(f"{browser.capabilities['browserName']} {browser.capabilities['browserVersion']}; {page.element('model').text}")
        at = lambda part: times[min(len(times) - 1, int(part * len(times)))]
        print(f"{len(times)} frames of {PHANTOM.name}, one prompt: median {statistics.median(times):.1f} ms, least {times[0]:.1f}, p90 {at(0.9):.1f}, largest {times[-1]:.1f}")
        print(f"memory of the module: {measured['memory_bytes'] / 1e6:.0f} MB")
        if arguments.steps:
            for name, kind, gmac, nanoseconds in sorted(measured["steps"], key=lambda step: -step[3])[:25]:
                print(f"{nanoseconds / 1e6:8.2f} ms  {kind:20} {1e3 * gmac:7.2f} MMAC  {name}")
        if arguments.picture:
            page.write_prompts("a nodule near the bottom of the image", "a nodule near the top of the image")
            page.forget()
            page.element("find").click()
            page.wait_for(page.has_result, "a result")
            browser.execute_script("document.activeElement.blur(); scrollTo(0, 0);")
            browser.save_screenshot(str(arguments.picture))
    finally:
        browser.quit()
        server.stop()


if __name__ == "__main__":
    main()
