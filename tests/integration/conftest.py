"""A headless Chromium for the tests of pages; where there is none, they are skipped."""

import shutil
import time
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium drives the browser")
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        pytest.skip("chromium and chromium-driver are not installed")
    downloads = tmp_path_factory.mktemp("downloads")
    options = webdriver.ChromeOptions()
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(word)
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    driver.downloads = downloads
    yield driver
    driver.quit()


@pytest.fixture
def downloaded(browser):
    """Wait for a file of that name with content and move it away, so that the next one has the same name."""

    def wait(name: str, target: Path) -> Path:
        for _ in range(600):
            if (browser.downloads / name).is_file() and (browser.downloads / name).stat().st_size:
                return Path(shutil.move(browser.downloads / name, target))
            time.sleep(0.1)
        raise AssertionError(f"{name} was not downloaded within a minute")

    return wait
