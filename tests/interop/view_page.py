#!/usr/bin/env python3
"""Uses the page of `causalclipseg view` in a headless Chromium, as a person does: reads, types, clicks.

needs: selenium, numpy, pillow; chromium and chromedriver
usage: view_page.py COMMAND FOLDER [--screenshot FILE]

COMMAND is the causalclipseg binary, built with the feature `view`; FOLDER holds pictures (phantoms). The picture on the canvas is compared with the
file's pixels, the outline with the mask that `segment` writes, before and after a typed prompt.
"""
import argparse
import io
import json
import shutil
import subprocess
import tempfile
import time
from base64 import b64decode
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

FIRST, SECOND = "a nodule near the top of the image", "a nodule near the bottom of the image"
CANVAS = "return document.getElementById('picture').toDataURL('image/png').split(',')[1]"


def browser():
    options = webdriver.ChromeOptions()
    for argument in ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,800"]:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    # The browser of the system, instead of one that selenium fetches.
    options.binary_location = shutil.which("chromium")
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))


@contextmanager
def viewing(command, arguments):
    """The command and its page's address; it ends with the block, whatever happens in it."""
    process = subprocess.Popen([command, "view", *arguments, "--port", "0"], stdout=subprocess.PIPE, text=True)
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait(10)


def segment(command, picture, prompt):
    """The mask that the command writes, true where the lesion is."""
    with tempfile.TemporaryDirectory() as out:
        subprocess.run([command, "segment", picture, "-p", prompt, "-o", out, "--format", "mask"], check=True, stdout=subprocess.DEVNULL)
        return np.array(Image.open(next(Path(out).glob("*_mask.png")))) > 0


def canvas(driver):
    return np.array(Image.open(io.BytesIO(b64decode(driver.execute_script(CANVAS)))).convert("RGB")).astype(int)


def check_masks(driver, command, picture):
    """With outlines off, filled pixels differ from the picture's, and exactly those of the mask do."""
    grey = np.array(Image.open(picture).convert("RGB")).astype(int)
    wait = WebDriverWait(driver, 30)
    wait.until(lambda _: driver.find_element(By.CSS_SELECTOR, "#findings li"))
    for box in ["outlines", "fill"]:
        driver.find_element(By.ID, box).click()
    assert np.array_equal(canvas(driver), grey), "the canvas does not show the file's pixels"
    driver.find_element(By.ID, "fill").click()
    found = np.any(canvas(driver) != grey, axis=2)
    expected = segment(command, picture, FIRST)
    assert np.array_equal(found, expected), f"{found.sum()} pixels are filled, {expected.sum()} expected"

    field = driver.find_element(By.ID, "prompts")
    assert field.get_property("value") == FIRST
    field.clear()
    field.send_keys(SECOND)
    before = driver.find_element(By.TAG_NAME, "body").get_attribute("data-frame")
    driver.find_element(By.ID, "apply").click()
    wait.until(lambda _: driver.find_element(By.TAG_NAME, "body").get_attribute("data-frame") != before)
    wait.until(lambda _: SECOND in driver.find_element(By.ID, "findings").text)
    found = np.any(canvas(driver) != grey, axis=2)
    expected = segment(command, picture, SECOND)
    assert np.array_equal(found, expected), f"{found.sum()} pixels are filled after the new prompt, {expected.sum()} expected"
    assert "pixels" in driver.find_element(By.CSS_SELECTOR, "#findings .measurements").text

    field.clear()
    driver.find_element(By.ID, "apply").click()
    wait.until(lambda _: "write what to look for" in driver.find_element(By.ID, "refusal").text)
    assert SECOND in driver.find_element(By.ID, "findings").text


def check_controls(driver):
    """Pause and step by keyboard alone; numbers are shown."""
    wait = WebDriverWait(driver, 30)
    frame = lambda: driver.find_element(By.TAG_NAME, "body").get_attribute("data-frame")
    wait.until(lambda _: frame() is not None)
    pause = driver.find_element(By.ID, "pause")
    driver.execute_script("document.getElementById('pause').focus()")
    driver.switch_to.active_element.send_keys(Keys.SPACE)
    wait.until(lambda _: pause.get_attribute("aria-pressed") == "true")
    time.sleep(1.5)
    held = frame()
    time.sleep(1.5)
    assert frame() == held, "frames go on while the screen is paused"
    driver.switch_to.active_element.send_keys(Keys.TAB)
    assert driver.switch_to.active_element.get_attribute("id") == "step"
    driver.switch_to.active_element.send_keys(Keys.ENTER)
    wait.until(lambda _: frame() != held)
    pause.click()
    wait.until(lambda _: pause.get_attribute("aria-pressed") == "false")
    assert " ms" in driver.find_element(By.ID, "numbers").text


def check_log(driver):
    errors = [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE" and "400" not in entry["message"]]
    assert not errors, json.dumps(errors)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("command")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--screenshot", type=Path)
    arguments = parser.parse_args()
    pictures = sorted(arguments.folder.glob("*.png"))
    driver = browser()
    try:
        with viewing(arguments.command, [str(pictures[0]), "-p", FIRST]) as (process, url):
            driver.get(url)
            check_masks(driver, arguments.command, pictures[0])
            check_log(driver)
            process.terminate()
            assert process.wait(10) == 143
            WebDriverWait(driver, 30).until(lambda _: "cannot be reached" in driver.find_element(By.ID, "notice").text)
            # Refused connections are expected here.
            driver.get_log("browser")

        with viewing(arguments.command, [str(arguments.folder), "-p", FIRST, "-p", SECOND, "--rate", "4"]) as (_, url):
            driver.get("about:blank")
            driver.get_log("browser")
            driver.get(url)
            check_controls(driver)
            check_log(driver)
            if arguments.screenshot:
                driver.find_element(By.ID, "pause").click()
                time.sleep(1)
                driver.save_screenshot(str(arguments.screenshot))
    finally:
        driver.quit()
    print("the page shows the file's pixels and segment's masks; a typed prompt, pause, step and an empty prompt work")


if __name__ == "__main__":
    main()
