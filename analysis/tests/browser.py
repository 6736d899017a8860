"""A headless Chromium, driven over its debugging pipe: sizes, errors and pictures of a page without further packages."""
import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

NAMES = ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable')
FLAGS = ('--headless=new', '--disable-gpu', '--no-first-run', '--disable-extensions', '--disable-background-networking',
         '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage', '--mute-audio', '--remote-debugging-pipe')


def find():
    """Path of a browser, or None. The environment variable CHROMIUM names another one."""
    return os.environ.get('CHROMIUM') or next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One tab. `events` are the messages that came without being asked for."""

    def __init__(self, program, patience=240):
        self._until = time.monotonic() + patience
        self._folder = tempfile.TemporaryDirectory(prefix='ivory-browser-')
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()
        # The sandbox needs a user that is not root.
        flags = FLAGS + (('--no-sandbox',) if os.geteuid() == 0 else ())
        command = [program, *flags, f'--user-data-dir={self._folder.name}', 'about:blank']
        # The browser reads from its file 3 and writes to 4, whatever numbers the pipes have here.
        def place():
            ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (theirs_in, theirs_out)]
            for number, end in enumerate(ends, 3):
                os.dup2(end, number)

        self._process = subprocess.Popen(command, preexec_fn=place, pass_fds=(3, 4), stdout=subprocess.DEVNULL,
                                         stderr=subprocess.DEVNULL)
        os.close(theirs_in)
        os.close(theirs_out)
        self._out, self._in, self._rest, self._number, self._session, self.events = ours_out, ours_in, b'', 0, None, []
        target = self.ask('Target.createTarget', url='about:blank')['targetId']
        self._session = self.ask('Target.attachToTarget', targetId=target, flatten=True)['sessionId']
        for domain in ('Page', 'Runtime', 'Log', 'Network'):
            self.ask(f'{domain}.enable')

    def close(self):
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for end in (self._out, self._in):
            os.close(end)
        # A helper process may still be writing while its parent has ended.
        shutil.rmtree(self._folder.name, ignore_errors=True)
        self._folder._finalizer.detach()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _message(self):
        while b'\0' not in self._rest:
            left = self._until - time.monotonic()
            if left <= 0 or not select.select([self._in], [], [], left)[0]:
                raise TimeoutError('the browser does not answer')
            data = os.read(self._in, 1 << 20)
            if not data:
                raise OSError(f'the browser ended with {self._process.wait()}')
            self._rest += data
        message, _, self._rest = self._rest.partition(b'\0')
        return json.loads(message)

    def ask(self, method, **parameters):
        """The answer to a command of the DevTools protocol."""
        self._number += 1
        request = {'id': self._number, 'method': method, 'params': parameters}
        if self._session:
            request['sessionId'] = self._session
        os.write(self._out, json.dumps(request).encode() + b'\0')
        while True:
            message = self._message()
            if message.get('id') != self._number:
                self.events.append(message)
            elif 'error' in message:
                raise OSError(f'{method}: {message["error"]["message"]}')
            else:
                return message['result']

    def open(self, path, width, height, phone=False):
        """Shows a file in a window of that size, until it is loaded."""
        self.events.clear()
        self.ask('Emulation.setDeviceMetricsOverride', width=width, height=height, deviceScaleFactor=1, mobile=phone)
        self.ask('Page.navigate', url=f'file://{os.path.abspath(path)}')
        while not any(event['method'] == 'Page.loadEventFired' for event in self.events):
            self.events.append(self._message())
        self.evaluate('Promise.all([...document.images].map(image => image.decode().catch(() => null)))')

    def evaluate(self, script):
        """The value of a script; a promise is waited for."""
        answer = self.ask('Runtime.evaluate', expression=script, returnByValue=True, awaitPromise=True)
        if 'exceptionDetails' in answer:
            raise OSError(f'{script}: {answer["exceptionDetails"]["text"]}')
        return answer['result'].get('value')

    def complaints(self):
        """Errors and warnings of the page's console, and what it asked for beside files and data."""
        found = []
        for event in self.events:
            method, about = event['method'], event.get('params', {})
            if method == 'Runtime.exceptionThrown':
                details = about['exceptionDetails']
                found.append(details.get('exception', {}).get('description', details['text']))
            elif method == 'Log.entryAdded' and about['entry']['level'] in ('error', 'warning'):
                found.append(f'{about["entry"]["text"]} {about["entry"].get("url", "")}')
            elif method == 'Runtime.consoleAPICalled' and about['type'] in ('error', 'warning', 'assert'):
                found.append(' '.join(str(part.get('value', part.get('description'))) for part in about['args']))
            elif method == 'Network.requestWillBeSent':
                url = about['request']['url']
                if not url.startswith(('file:', 'data:', 'about:')):
                    found.append(f'asks for {url[:200]}')
        return found

    def screenshot(self, path):
        """A picture of the whole page."""
        data = self.ask('Page.captureScreenshot', format='png', captureBeyondViewport=True)
        with open(path, 'wb') as file:
            file.write(base64.b64decode(data['data']))
