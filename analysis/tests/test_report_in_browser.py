"""The report in a real browser, in a desktop's and in a phone's width: nothing wider than the window, every picture there,
nothing in the console, nothing asked for. Skipped (77) where no Chromium is installed.

test_report_in_browser.py [FOLDER]   keeps the page and its screenshots in the folder
"""
import pathlib
import sys
import unittest

import browser
import support
from support import LogTest, write_logs

from ivory_logs.report import write_report

PROGRAM = browser.find()
KEEP = pathlib.Path(sys.argv.pop(1)) if len(sys.argv) > 1 and not sys.argv[1].startswith('-') else None
SIZES = {'desktop': (1280, 800, False), 'phone': (390, 844, True)}
# Elements that reach beyond the window, but for those inside a box that scrolls.
TOO_WIDE = '''[...document.querySelectorAll('body *')].filter(e => !e.closest('.box, pre') &&
  e.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5).map(e => e.outerHTML.slice(0, 80))'''

SCROLLS = '[...document.querySelectorAll(".box")].some(box => box.scrollWidth > box.clientWidth)'
NOT_LOADED = '[...document.images].filter(i => !(i.complete && i.naturalWidth > 0)).map(i => i.alt)'


@unittest.skipUnless(PROGRAM, 'no Chromium found; install Debian\'s chromium, or set CHROMIUM')
class InBrowser(LogTest):
    @classmethod
    def make(cls):
        logs = write_logs(cls.folder, seeds=3, settings=('rounds=6', 'log.sites=last', 'evaluation.samples=8'))
        cls.out = KEEP or cls.folder
        cls.out.mkdir(parents=True, exist_ok=True)
        cls.page = cls.out / 'report.html'
        write_report(logs, cls.page)
        cls.browser = browser.Browser(PROGRAM)
        cls.addClassCleanup(cls.browser.close)

    def check(self, name):
        width, height, phone = SIZES[name]
        tab = self.browser
        tab.open(self.page, width, height, phone)
        self.assertEqual(tab.evaluate('innerWidth'), width)
        self.assertLessEqual(tab.evaluate('document.documentElement.scrollWidth'), width)
        self.assertEqual(tab.evaluate(TOO_WIDE), [])
        self.assertGreater(tab.evaluate('document.images.length'), 15)
        self.assertEqual(tab.evaluate(NOT_LOADED), [])
        self.assertEqual(tab.complaints(), [])
        tab.screenshot(self.out / f'{name}.png')

    def test_desktop(self):
        self.check('desktop')
        # Tables of two arms need no scrolling on a desktop.
        self.assertFalse(self.browser.evaluate(SCROLLS))

    def test_phone(self):
        self.check('phone')
        self.assertTrue(self.browser.evaluate(SCROLLS))

    def test_complaints_are_seen(self):
        """The checks above would notice: a script's error, a picture that is not there, a page that is too wide."""
        bad = self.folder / 'bad.html'
        bad.write_text('<!DOCTYPE html><title>bad</title><body><img src="none.png" alt="none"><p style="width: 2000px">wide</p>'
                       '<script>console.error("wrong"); undefinedName()</script>', encoding='utf-8')
        self.browser.open(bad, 390, 844)
        found = ' '.join(self.browser.complaints())
        for expected in ('wrong', 'undefinedName', 'ERR_FILE_NOT_FOUND'):
            self.assertIn(expected, found)
        self.assertNotEqual(self.browser.evaluate(TOO_WIDE), [])
        self.assertEqual(self.browser.evaluate('document.images[0].naturalWidth'), 0)


if __name__ == '__main__':
    support.main()
