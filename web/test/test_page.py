"""The page in a real Chromium: its masks equal the native command's bit for bit, and it says plainly what it doesn't take.

    pytest web/test   (see conftest.py for the environment)
"""

import subprocess

import numpy
import pydicom
import pytest
from conftest import PHANTOM
from page import Page
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

BOTTOM = "a nodule near the bottom of the image"
TOP = "a nodule near the top of the image"


def write_clip(path, frames):
    """A DICOM ultrasound clip of grey frames, with a scan region and its size in millimetres."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.3.1"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.StudyInstanceUID, data.SeriesInstanceUID, data.Modality = generate_uid(), generate_uid(), "US"
    data.PatientName, data.PatientID = "", ""
    data.NumberOfFrames, data.Rows, data.Columns = frames.shape
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", 0
    data.BitsAllocated, data.BitsStored, data.HighBit = 8, 8, 7
    data.FrameTime, data.FrameIncrementPointer = "40", 0x00181063
    region = pydicom.Dataset()
    region.RegionSpatialFormat, region.RegionDataType, region.RegionFlags = 1, 1, 0
    region.RegionLocationMinX0, region.RegionLocationMinY0 = 4, 6
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = data.Columns - 5, data.Rows - 3
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX = region.PhysicalDeltaY = 0.01
    data.SequenceOfUltrasoundRegions = [region]
    data.PixelData = frames.tobytes()
    data.save_as(path, enforce_file_format=True)


@pytest.fixture
def clip(tmp_path):
    still = numpy.asarray(Image.open(PHANTOM).convert("L"))
    frames = numpy.stack([numpy.roll(still, shift, axis=1) for shift in (0, 5, 11)])
    path = tmp_path / "clip.dcm"
    write_clip(path, frames)
    return path


def assert_equal(page, native, path, prompts):
    masks, records = native(path, prompts)
    assert len(masks) == len(prompts)
    report = page.report()
    for index, (mask, record) in enumerate(zip(masks.values(), records.values())):
        numpy.testing.assert_array_equal(page.mask(index), mask)
        finding = report["findings"][index]
        for key in ("prompt", "area_px", "area_mm2", "bbox", "contours"):
            assert finding[key] == record[key], key
        assert finding["quality"]["flags"] == record["quality"]["flags"]
        assert abs(finding["quality"]["score"] - record["quality"]["score"]) < 1e-6
        assert mask.any()


def rows(page):
    return [[cell.text for cell in row.find_elements(By.XPATH, "./*")] for row in page.browser.find_elements(By.CSS_SELECTOR, "#rows tr")]


def test_the_command_serves_the_page(command, folder, browser_with, native):
    """`serve`, under the policy that it sends; a command without the feature `view` has none."""
    process = subprocess.Popen([command, "serve", folder, "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    address = process.stdout.readline().strip()
    try:
        if not address:
            pytest.skip("this command has no `serve`: build it with --features view")
        page = Page(browser_with(), address)
        page.write_prompts(BOTTOM)
        page.choose(PHANTOM)
        assert_equal(page, native, PHANTOM, [BOTTOM])
        assert not [entry for entry in page.log() if entry["level"] == "SEVERE"]
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.parametrize("v8", [(), ("--no-enable-fma3",)], ids=["as it is", "without fused multiply-adds"])
def test_a_dropped_image_has_the_native_masks(server, browser_with, native, v8):
    page = Page(browser_with(v8=v8), server.address)
    page.write_prompts(BOTTOM, TOP)
    page.drop(PHANTOM)
    assert not page.problem
    assert_equal(page, native, PHANTOM, [BOTTOM, TOP])
    [first, second] = rows(page)
    assert first[0] == BOTTOM and second[0] == TOP and "px" in first[1] and float(first[4]) > 0.5
    assert "Time:" in page.element("times").text
    # The phantom is grey, so what has a colour was drawn.
    coloured = (
        "const { data } = view.getContext('2d').getImageData(0, 0, view.width, view.height); let count = 0;"
        "for (let at = 0; at < data.length; at += 4) count += data[at] > data[at + 2] + 20; return count;"
    )
    with_mask = page.browser.execute_script(coloured)
    page.element("show-mask").click()
    contour = page.browser.execute_script(coloured)
    page.element("show-contour").click()
    assert with_mask > page.report()["findings"][0]["area_px"] > contour > 100
    assert page.browser.execute_script(coloured) == 0
    assert all("127.0.0.1" in url for url in page.browser.execute_script("return performance.getEntriesByType('resource').map((e) => e.name);") if not url.startswith("blob:"))


def test_the_module_for_browsers_without_relaxed_vectors(server, browser_with, native):
    browser = browser_with()
    # The two instructions of relaxed-simd are refused, as older browsers refuse them.
    browser.execute_cdp_cmd(
        "Page.addScriptToEvaluateOnNewDocument",
        {"source": "const known = WebAssembly.validate; WebAssembly.validate = (bytes) => !Array.from(bytes).some((byte, at) =>"
                   " byte === 0xfd && [0x85, 0x93].includes(bytes[at + 1]) && bytes[at + 2] === 2) && known(bytes);"},
    )
    page = Page(browser, server.address)
    assert "simd128" in page.element("model").text
    assert any("simd128/runtime.wasm.gz" in path for path in server.requested)
    page.write_prompts(BOTTOM, TOP)
    page.choose(PHANTOM)
    assert_equal(page, native, PHANTOM, [BOTTOM, TOP])


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tif"])
def test_every_format_of_pictures(server, browser_with, native, tmp_path, suffix):
    path = tmp_path / f"picture.{suffix}"
    Image.open(PHANTOM).convert("RGB").resize((301, 217)).save(path)
    page = Page(browser_with(), server.address)
    page.write_prompts(BOTTOM)
    page.choose(path)
    assert_equal(page, native, path, [BOTTOM])


def test_a_clip_plays_with_live_masks(server, browser_with, native, clip):
    page = Page(browser_with(), server.address)
    page.write_prompts(BOTTOM)
    page.choose(clip)
    page.wait_for(lambda: page.element("position").text.endswith("of 3"), "the position")
    positions = set()
    page.wait_for(lambda: positions.add(page.element("position").text) or len(positions) == 3, "all three frames")
    page.element("play").click()
    page.wait_for(lambda: page.element("play").text == "Play", "the pause")
    page.browser.execute_script("globalThis.held = causalclipseg.shown;")
    masks, records = native(clip, [BOTTOM])
    [record] = records.values()
    seen = set()
    for _ in range(3):
        page.forget()
        page.element("step").click()
        page.wait_for(page.has_result, "the next frame")
        number = int(page.element("position").text.split()[1])
        mask = list(masks.values())[number - 1]
        numpy.testing.assert_array_equal(page.mask(0), mask)
        assert mask.any()
        assert page.report()["findings"][0]["area_mm2"] == record["frames"][number - 1]["area_mm2"]
        seen.add(number)
    assert seen == {1, 2, 3}
    assert "mm²" in rows(page)[0][1]


def test_the_camera_has_live_masks(server, browser_with):
    browser = browser_with("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")
    page = Page(browser, server.address)
    page.write_prompts("a nodule")
    page.forget()
    page.element("camera").click()
    page.wait_for(page.has_result, "a frame of the camera")
    page.forget()
    page.wait_for(page.has_result, "another frame")
    assert page.element("camera").get_attribute("aria-pressed") == "true"
    page.element("camera").click()
    page.wait_for(lambda: page.element("camera").get_attribute("aria-pressed") == "false", "the end")
    assert not page.problem


def test_a_refused_camera_is_one_line(server, browser_with):
    page = Page(browser_with("--deny-permission-prompts"), server.address)
    page.element("camera").click()
    assert "camera cannot be used" in page.wait_for(lambda: page.problem, "a problem")


def test_everything_works_after_the_server_stopped(server, browser_with, native):
    page = Page(browser_with(), server.address)
    requested = len(server.requested)
    server.stop()
    page.write_prompts(BOTTOM)
    page.drop(PHANTOM)
    assert_equal(page, native, PHANTOM, [BOTTOM])
    assert len(server.requested) == requested


def test_nothing_can_be_sent_elsewhere(server, folder, browser_with):
    from conftest import PageServer

    other = PageServer(folder)
    page = Page(browser_with(), server.address)
    send = "const done = arguments[arguments.length - 1]; fetch(arguments[0], { mode: 'no-cors' }).then(() => done('sent'), () => done('refused'));"
    assert page.browser.execute_async_script(send, other.address) == "refused"
    # The worker too, which starts as the page's own does.
    worker = (
        "const done = arguments[arguments.length - 1];"
        "const code = `fetch('${arguments[0]}', { mode: 'no-cors' }).then(() => postMessage('sent'), () => postMessage('refused'));`;"
        "const worker = new Worker(URL.createObjectURL(new Blob([code], { type: 'text/javascript' })), { type: 'module' });"
        "worker.onmessage = ({ data }) => done(data); worker.onerror = () => done('failed');"
    )
    assert page.browser.execute_async_script(worker, other.address) == "refused"
    other.stop()
    assert other.requested == []


def test_only_the_keyboard(server, browser_with, native):
    browser = browser_with()
    page = Page(browser, server.address)
    page.choose(PHANTOM)

    def press(*keys):
        # To whatever has the focus: a field for files would take them for paths.
        webdriver.ActionChains(browser).send_keys(*keys).perform()

    def focused():
        return browser.switch_to.active_element.get_attribute("id")

    browser.execute_script("document.activeElement.blur();")
    seen = []
    for _ in range(12):
        press(Keys.TAB)
        seen.append(focused())
        if focused() == "prompts":
            break
    # In the order of reading, and with a border that can be seen.
    assert seen == ["file", "camera", "prompts"], seen
    assert browser.execute_script("return getComputedStyle(document.activeElement).outlineStyle;") != "none"
    webdriver.ActionChains(browser).key_down(Keys.CONTROL).send_keys("a").key_up(Keys.CONTROL).perform()
    press(BOTTOM)
    press(Keys.TAB)
    assert focused() == "find"
    page.forget()
    press(Keys.ENTER)
    page.wait_for(page.has_result, "a result")
    assert_equal(page, native, PHANTOM, [BOTTOM])
    # What is seen is said: by the status, which readers announce, and by the picture's name.
    assert BOTTOM in page.status and page.element("status").get_attribute("aria-live") == "polite"
    assert page.element("view").get_attribute("aria-label") == page.status
    for name in ("show-mask", "show-contour"):
        press(Keys.TAB)
        assert focused() == name
        press(Keys.SPACE)
        assert not page.element(name).is_selected()


def contrast(first, second):
    def luminance(colour):
        levels = [int(level) / 255 for level in colour]
        linear = [level / 12.92 if level <= 0.04045 else ((level + 0.055) / 1.055) ** 2.4 for level in levels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted([luminance(first), luminance(second)], reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_can_be_read_and_fields_have_names(server, browser_with, scheme):
    browser = browser_with()
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
    page = Page(browser, server.address)
    page.choose(PHANTOM)
    colours = browser.execute_script(
        "const parse = (text) => text.match(/\\d+(\\.\\d+)?/g).map(Number);"
        "const behind = (element) => { for (; element; element = element.parentElement) {"
        "  const [r, g, b, a = 1] = parse(getComputedStyle(element).backgroundColor); if (a === 1) return [r, g, b]; } };"
        "return [...document.querySelectorAll('body *')].filter((e) => e.innerText?.trim() && e.offsetParent)"
        "  .map((e) => [e.id || e.tagName, parse(getComputedStyle(e).color).slice(0, 3), behind(e)]);"
    )
    assert len(colours) > 20
    for name, text, paper in colours:
        # WCAG's level AAA.
        assert contrast(text, paper) >= 7, (name, text, paper)
    unnamed = browser.execute_script(
        "return [...document.querySelectorAll('input, textarea, button')].filter((e) => !e.disabled)"
        "  .filter((e) => !(e.labels?.length || e.getAttribute('aria-label') || e.innerText?.trim())).map((e) => e.outerHTML);"
    )
    assert unnamed == []
    assert browser.execute_script("return document.documentElement.lang;") == "en"


def test_bad_files_are_one_line_each(server, browser_with, tmp_path):
    page = Page(browser_with(), server.address)
    page.write_prompts(BOTTOM)
    text = tmp_path / "notes.txt"
    text.write_text("not an image\n" * 50)
    empty = tmp_path / "empty.png"
    empty.write_bytes(b"")
    cut = tmp_path / "cut.png"
    cut.write_bytes(PHANTOM.read_bytes()[:20_000])
    huge = tmp_path / "huge.png"
    Image.new("L", (9000, 9000)).save(huge)
    pages = tmp_path / "bomb.png"
    # A header alone that claims to be enormous.
    pages.write_bytes(PHANTOM.read_bytes()[:16] + bytes([0x7F, 0xFF, 0xFF, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF]) + PHANTOM.read_bytes()[24:])
    for path, expected in [
        (text, "notes.txt"),
        (empty, "is empty"),
        (cut, "cut.png"),
        (huge, "at most 20 million"),
        (pages, "at most 20 million"),
    ]:
        page.choose(path)
        problem = page.wait_for(lambda: page.problem, "a problem")
        assert expected in problem and "\n" not in problem and len(problem) < 300, problem
        assert page.element("problem").get_attribute("role") == "alert"
    # The page goes on.
    page.choose(PHANTOM)
    assert not page.problem and page.has_result()


def test_bad_prompts_are_one_line_each(server, browser_with):
    page = Page(browser_with(), server.address)
    page.choose(PHANTOM)
    for prompts, expected in [([""], "no prompt"), (["word " * 300], "shorten"), ([f"a nodule {n}" for n in range(9)], "8")]:
        page.write_prompts(*prompts)
        page.element("find").click()
        assert expected in page.wait_for(lambda: page.problem, "a problem")
        page.write_prompts("a nodule")
        page.forget()
        page.element("find").click()
        page.wait_for(page.has_result, "a result")
        assert not page.problem


def test_a_browser_without_vectors_is_told(server, browser_with):
    page = Page(browser_with(v8=["--no-enable-sse4-1"]), server.address, wait=False)
    problem = page.wait_for(lambda: page.problem, "a problem")
    assert "SIMD" in problem and "Firefox" in problem


def test_too_little_memory_is_told(server, browser_with, tmp_path):
    # 8 MiB: the model does not fit.
    page = Page(browser_with(v8=["--wasm-max-mem-pages=128"]), server.address, wait=False)
    problem = page.wait_for(lambda: page.problem, "a problem")
    assert "too little memory" in problem and "\n" not in problem, problem
    # 48 MiB: a large image does not fit, and the page goes on with the next one.
    page = Page(browser_with(v8=["--wasm-max-mem-pages=768"]), server.address)
    large = tmp_path / "large.png"
    Image.new("L", (4000, 4000), 90).save(large)
    page.choose(large)
    problem = page.wait_for(lambda: page.problem, "a problem")
    assert "too little memory" in problem and "smaller image" in problem, problem
    page.choose(PHANTOM)
    assert not page.problem and page.has_result()


def test_a_missing_model_is_told(folder, browser_with, tmp_path):
    import shutil

    from conftest import PageServer

    shutil.copytree(folder, tmp_path / "page")
    (tmp_path / "page/tiny.ccs").unlink()
    server = PageServer(tmp_path / "page")
    page = Page(browser_with(), server.address, wait=False)
    assert "tiny.ccs" in page.wait_for(lambda: page.problem, "a problem")
    (tmp_path / "page/tiny.ccs").write_bytes((folder / "tiny.ccs").read_bytes()[:100_000])
    page = Page(browser_with(), server.address, wait=False)
    assert "tiny.ccs" not in page.wait_for(lambda: page.problem, "a problem")
    server.stop()
