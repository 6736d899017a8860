"""The report: one file that asks for no other, well-formed, with the numbers of the comparison; and for many kinds of logs."""
import html.parser
import shutil
import subprocess
import sys

import support
from support import LogTest, write_logs

import h5py
import matplotlib.pyplot as plt

import ivory_logs
from ivory_logs.page import element, page
from ivory_logs.report import mean_and_deviation, number, report_html, size

VOID = {'meta', 'link', 'img', 'br'}


class Reader(html.parser.HTMLParser):
    """Checks that tags nest, and keeps tags, tables' texts and headings."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.words = [], [], []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f'</{tag}> in {self.open}'

    def handle_data(self, data):
        self.words.append(data)

    def of(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


class Page(LogTest):
    @classmethod
    def make(cls):
        cls.logs = write_logs(cls.folder, seeds=2, settings=('rounds=3', 'log.sites=last', 'evaluation.samples=4'))
        cls.text = report_html(cls.logs)
        cls.read = Reader(cls.text)

    def test_needs_nothing_else(self):
        for tag, attributes in self.read.tags:
            for name in ('src', 'href'):
                value = attributes.get(name, 'data:')
                self.assertTrue(value.startswith(('data:', '#')), (tag, name, value[:80]))
        self.assertNotRegex(self.text, r'@import|url\(|<script|<iframe')
        self.assertEqual(plt.get_fignums(), [])

    def test_structure(self):
        page = self.read
        self.assertTrue(self.text.startswith('<!DOCTYPE html>'))
        self.assertEqual([len(page.of(tag)) for tag in ('html', 'title', 'header', 'main', 'footer', 'h1')], [1] * 6)
        self.assertEqual(page.of('html')[0]['lang'], 'en')
        ids = [attributes['id'] for _, attributes in page.tags if 'id' in attributes]
        self.assertEqual(len(ids), len(set(ids)))
        for link in page.of('a'):
            self.assertIn(link['href'][1:], ids)
        self.assertEqual([s['id'] for s in page.of('section')],
                         ['results', 'rounds', 'calibration', 'clients', 'precisions', 'training', 'logs', 'scenarios'])
        self.assertGreaterEqual(len(page.of('img')), 15)
        for image in page.of('img'):
            self.assertGreater(len(image['alt']), 20)
        for heading in page.of('th'):
            self.assertIn(heading['scope'], ('col', 'row'))

    def test_numbers(self):
        comparison = ivory_logs.compare(self.logs)
        for arm, model in (('fedavg', 'mean'), ('vb-admm', 'mean'), ('vb-admm', 'posterior_average')):
            for summary in ('final', 'last_3'):
                row = comparison.value(arm, model, 'accuracy', summary)
                self.assertIn(f'{100 * row["mean"]:.2f} ± {100 * row["standard_deviation"]:.2f}', self.read.words)
        row = comparison.differences.iloc[1]
        self.assertEqual((row['metric'], row['summary']), ('accuracy', 'last_3'))
        self.assertIn(f'{100 * row["mean"]:+.2f}'.replace('-', '−'), self.read.words)
        self.assertIn(f'{100 * row["low"]:+.2f} to {100 * row["high"]:+.2f}'.replace('-', '−'), self.read.words)
        self.assertIn(comparison.runs[2].header['scenario'], self.read.words)

    def test_texts(self):
        self.assertEqual([number(float('nan')), number(-0.5), number(0.5, 100, 1, '+')], ['–', '−0.50', '+50.0'])
        self.assertEqual([size(999), size(1.5e6), size(2e12)], ['999 B', '1.5 MB', '2 TB'])
        row = {'mean': 0.5, 'standard_deviation': 0.1, 'seeds': 2, 'logs': 3}
        self.assertEqual(mean_and_deviation(row, 100, 1), '50.0 ± 10.0 (2 of 3)')
        self.assertIn('<h1>a &lt;b&gt; &amp; "c"</h1>', page('a <b> & "c"', [], [], []))
        self.assertEqual(element('p', 'x < y', class_='a "b"'), '<p class="a &quot;b&quot;">x &lt; y</p>')

    def test_command(self):
        out = self.folder / 'page.html'

        def call(*arguments):
            return subprocess.run([sys.executable, '-m', 'ivory_logs', 'report', *arguments], cwd=support.ROOT / 'analysis',
                                  capture_output=True, text=True, check=False)
        done = call(*self.logs, '-o', str(out))
        self.assertEqual((done.returncode, done.stdout), (0, f'wrote {out}\n'), done.stderr)
        self.assertEqual(out.read_text(encoding='utf-8'), self.text, 'the same logs give the same bytes')
        self.assertFalse((self.folder / 'page.html.part').exists())
        done = call(str(self.folder / 'none.h5'), '-o', str(self.folder / 'never.html'))
        self.assertEqual(done.returncode, 2)
        self.assertRegex(done.stderr, r'^ivory-logs: \[log\] a log must exist')
        self.assertFalse((self.folder / 'never.html').exists())


class Kinds(LogTest):
    """Logs that lack something still give a page."""

    def sections(self, text):
        return [section['id'] for section in Reader(text).of('section')]

    def test_regression(self):
        logs = write_logs(self.folder / 'regression', 'regression', 2, settings=('rounds=2',))
        text = report_html(logs, 'Two arms', 'vb-admm')
        self.assertIn('<title>Two arms</title>', text)
        self.assertIn('Difference to vb-admm', text)
        self.assertNotIn('calibration', self.sections(text))
        self.assertIn('test RMSE', text)

    def test_unfinished(self):
        log, = write_logs(self.folder / 'cut', arms='vb-admm', settings=('rounds=2', 'evaluation.samples=4'))
        for done in (1, 0):
            path = self.folder / f'cut{done}.h5'
            shutil.copy(log, path)
            with h5py.File(path, 'r+') as file:
                file['rounds_complete'][()] = done
            text = report_html([path])
            self.assertIn(f'unfinished: {path}, {done} of 2 rounds', text)
        self.assertEqual(self.sections(text), ['results', 'clients', 'logs', 'scenarios'])


if __name__ == '__main__':
    support.main()
