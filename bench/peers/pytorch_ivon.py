#!/usr/bin/env python3
"""Times one round of local training in PyTorch: the work of round_of_mnist in bench/bench.cpp, for comparison.

100 clients with 600 examples each, an MLP 784-200-100-10 with sigmoid, 10 epochs in batches of 64, IVON with the anchor
and site of VB-ADMM; one client after the other, eager mode, float32, TF32 off. It first checks its own result against
ivon_numpy.py and does not time a wrong one. See README.md beside this file.

usage: python3 bench/peers/pytorch_ivon.py [--device cpu|cuda|cuda:N] [--json] ...
"""
import argparse
import dataclasses
import json
import math
import platform
import re
import sys
import time


def stop(message, status):
    print(f'[peer] {message}', file=sys.stderr)
    sys.exit(status)


try:
    import numpy as np
    import torch
    import torch.nn.functional as F
except ImportError as missing:
    stop(f"needs the Python packages torch and numpy, got '{missing}'; install them, for example with "
         'python3 -m pip install torch numpy', 2)

import ivon_numpy  # noqa: E402

DATA_ROWS = 6000  # clients share them, as in bench.cpp

# The check compares what two rounds do, as root mean squares over all entries, with
#     error <= relative * change + roundings * unit * size:
# `relative` is for errors of gradients and updates, which grow with the change they make, `roundings` for results that
# are stored at their full size although they changed little (a precision: by 0.2 % in the second round).
#   float64: the formulas are rearranged, nothing else. Up to 2e-13 of the change was seen; a wrong term is far larger.
#   float32: sums of up to 784 products, and twelve steps' errors acting on each other, gave 2e-6 of the change; 2e-5
#            leaves room for another device's order of summation. With the products' operands rounded to the 10 bits of
#            TF32 the server's mean is off by 5e-4 or more of its change, so the check fails where TF32 is on.
TOLERANCES = {torch.float64: (1e-11, 16.0, 2.0**-53), torch.float32: (2e-5, 16.0, 2.0**-24)}


@dataclasses.dataclass(frozen=True)
class Settings:
    """The numbers of bench/bench.cpp: the network, ivon_options() and vb_admm_options()."""
    widths: tuple = (784, 200, 100, 10)
    clients: int = 100
    examples: int = 600
    epochs: int = 10
    batch: int = 64
    lr: float = 0.02
    beta1: float = 0.9
    beta2: float = 0.9998
    hess_init: float = 5e-3
    clip: float = math.inf
    rho: float = 5.0
    temperature: float = 0.01
    prior_precision: float = 0.01
    damping: float = 0.1

    @property
    def steps_per_client(self):
        return self.epochs * -(-self.examples // self.batch)


def random_data(settings, rows, seed):
    """Inputs, labels and initial parameters of the right shapes, drawn on the host: the same for every device."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(rows, settings.widths[0], generator=generator)
    labels = torch.randint(settings.widths[-1], (rows,), generator=generator)
    start = []
    for inputs, outputs in zip(settings.widths, settings.widths[1:]):
        for size in (inputs * outputs, outputs):
            start.append((2.0 * torch.rand(size, generator=generator) - 1.0) / math.sqrt(inputs))
    return x, labels, torch.cat(start)


class RandomDraws:
    """Noise and minibatch order, made on the device."""

    def __init__(self, device, seed):
        self.device, self.generator = device, torch.Generator(device).manual_seed(seed)

    def fill_noise(self, z, number, client, step):
        z.normal_(generator=self.generator)

    def order(self, number, client, epoch, examples):
        return torch.randperm(examples, generator=self.generator, device=self.device)


class GivenDraws:
    """The same noise and order for two programs: stateless, and exact in float32."""

    def __init__(self, settings, parameters, device):
        self.settings, self.parameters, self.device = settings, parameters, device

    def noise_of(self, number, client, step):
        z = np.random.default_rng((1, number, client, step)).standard_normal(self.parameters, dtype=np.float32)
        return z.astype(np.float64)

    def order_of(self, number, client, epoch):
        return np.random.default_rng((2, number, client, epoch)).permutation(self.settings.examples)

    def fill_noise(self, z, number, client, step):
        z.copy_(torch.from_numpy(self.noise_of(number, client, step)))

    def order(self, number, client, epoch, examples):
        return torch.from_numpy(self.order_of(number, client, epoch)).to(self.device)


class LocalTraining:
    """IVON on one flat vector. The working memory is made once and serves one client after the other."""

    def __init__(self, settings, device, dtype):
        self.settings = settings
        pairs = list(zip(settings.widths, settings.widths[1:]))
        self.shapes = [shape for inputs, outputs in pairs for shape in ((outputs, inputs), (outputs,))]
        self.sizes = [math.prod(shape) for shape in self.shapes]
        self.parameters = sum(self.sizes)
        names = ('mean', 'momentum', 'hessian', 'scale', 'point', 'eps', 'work', 'gap', 'd', 'minus_curvature', 'pull',
                 'push')
        for name in names:
            setattr(self, name, torch.zeros(self.parameters, device=device, dtype=dtype))
        self.point.requires_grad_()

    def loss(self, theta, x, labels):
        tensors = [part.view(shape) for part, shape in zip(theta.split(self.sizes), self.shapes)]
        for layer in range(0, len(tensors), 2):
            x = F.linear(x, tensors[layer], tensors[layer + 1])
            if layer + 2 < len(tensors):
                x = torch.sigmoid(x)
        return F.cross_entropy(x, labels)

    def loss_and_gradient(self, x, labels):
        with torch.enable_grad():
            loss = self.loss(self.point, x, labels)
            (gradient,) = torch.autograd.grad(loss, self.point)
        return loss.detach(), gradient

    def begin(self, server, site_mean, site_precision, first):
        """Starts a visit. What stays the same during it is put together here, once."""
        c = self.settings
        self.effective_samples = c.examples / (c.temperature * c.rho)
        site_weight = c.temperature / c.examples
        torch.mul(server.precision, 1.0 / self.effective_samples, out=self.d)
        torch.mul(site_precision, -site_weight, out=self.minus_curvature)
        # Derivative of anchor and site at m: v' - V' m + d (m - m_g) = push + pull m.
        torch.add(self.d, self.minus_curvature, out=self.pull)
        torch.mul(site_mean, site_weight, out=self.push).addcmul_(self.d, server.mean, value=-1.0)
        self.mean.copy_(server.start if first else server.mean)
        self.hessian.fill_(c.hess_init if first else 0.0)
        self.momentum.zero_()
        torch.add(self.hessian, self.d, out=self.scale)
        self.t = 0

    def sample(self):
        """theta = m + eps / sqrt(lambda), eps = z / sqrt(h + d), with z in `eps` when called."""
        torch.rsqrt(self.scale, out=self.work)
        self.eps.mul_(self.work)
        torch.add(self.mean, self.eps, alpha=1.0 / math.sqrt(self.effective_samples), out=self.point)

    def update(self, gradient):
        """One IVON step. `scale` is h + d before it, and again after it."""
        c = self.settings
        self.t += 1
        # hhat = lambda (h + d) (eps / sqrt(lambda)) ghat - V'
        self.eps.mul_(gradient)
        root_lambda = math.sqrt(self.effective_samples)
        torch.addcmul(self.minus_curvature, self.eps, self.scale, value=root_lambda, out=self.work)
        # h := b2 h + (1-b2) hhat + (1-b2)^2/2 (h - hhat)^2 / (h + d)
        torch.sub(self.hessian, self.work, out=self.gap)
        self.hessian.add_(self.gap, alpha=c.beta2 - 1.0)
        self.gap.mul_(self.gap)
        self.hessian.addcdiv_(self.gap, self.scale, value=0.5 * (1.0 - c.beta2)**2)
        self.momentum.lerp_(gradient, 1.0 - c.beta1)
        # m := m - lr clip((g / (1-b1^t) + v' - V' m + d (m - m_g)) / (h + d))
        torch.add(self.hessian, self.d, out=self.scale)
        torch.addcmul(self.push, self.pull, self.mean, out=self.work)
        self.work.add_(self.momentum, alpha=1.0 / (1.0 - c.beta1**self.t))
        if math.isinf(c.clip):
            self.mean.addcdiv_(self.work, self.scale, value=-c.lr)
        else:
            self.work.div_(self.scale).clamp_(-c.clip, c.clip)
            self.mean.add_(self.work, alpha=-c.lr)

    def precision(self):
        return self.scale * self.effective_samples


@dataclasses.dataclass
class Server:
    start: torch.Tensor
    mean: torch.Tensor
    precision: torch.Tensor


class Federation:
    """A server and its clients, which train one after the other."""

    def __init__(self, settings, device, dtype, x, labels, start):
        self.settings, self.rounds = settings, 0
        self.x, self.labels = x.to(device, dtype), labels.to(device)
        start = start.to(device, dtype)
        self.server = Server(start, torch.zeros_like(start), torch.full_like(start, settings.prior_precision))
        self.site_mean = torch.zeros(settings.clients, len(start), device=device, dtype=dtype)
        self.site_precision = torch.zeros_like(self.site_mean)
        self.local = LocalTraining(settings, device, dtype)
        self.train_loss, self.steps = math.nan, 0

    def visit(self, client, draws):
        """Trains a client; the sum of its losses, on the device."""
        c, local = self.settings, self.local
        local.begin(self.server, self.site_mean[client], self.site_precision[client], self.rounds == 0)
        base = client * c.examples % len(self.x)
        own_x, own_labels = self.x[base:base + c.examples], self.labels[base:base + c.examples]
        loss_sum = torch.zeros((), device=self.x.device, dtype=torch.float64)
        for epoch in range(c.epochs):
            order = draws.order(self.rounds, client, epoch, c.examples)
            for rows in order.split(c.batch):
                x, labels = own_x.index_select(0, rows), own_labels.index_select(0, rows)
                draws.fill_noise(local.eps, self.rounds, client, local.t)
                local.sample()
                loss, gradient = local.loss_and_gradient(x, labels)
                loss_sum.add_(loss)
                local.update(gradient)
        self.final_loss = local.loss(local.mean, x, labels)  # of the result, as Ivory computes it
        return loss_sum

    @torch.no_grad()
    def round(self, draws):
        """Every client trains, its site moves, and the server adds up, with sums in double."""
        c, server = self.settings, self.server
        alpha, rate = 1.0 / (1.0 + c.clients * c.rho), c.damping * c.rho
        old_precision = server.precision.double()
        old_eta = old_precision * server.mean.double()
        eta_sum, precision_sum = torch.zeros_like(old_eta), torch.zeros_like(old_eta)
        losses = 0.0
        for client in range(c.clients):
            loss_sum = self.visit(client, draws)
            mean, precision = self.local.mean, self.local.precision()
            usable = torch.isfinite(mean).all() & torch.isfinite(precision).all() & (precision > 0).all()
            usable &= torch.isfinite(loss_sum) & torch.isfinite(self.final_loss)
            loss, good = torch.stack((loss_sum, usable.double())).tolist()  # the one wait for the device per client
            if not good:
                stop(f'a round must train every client to finite results, got others from client {client} in round '
                     f'{self.rounds + 1}; the defaults of --epochs and --batch train', 1)
            losses += loss
            self.steps += self.local.t
            precision = precision.double()
            eta = precision * mean.double()
            site_mean, site_precision = self.site_mean[client], self.site_precision[client]
            site_mean.copy_(site_mean.double() + rate * (eta - old_eta))
            site_precision.copy_(site_precision.double() + rate * (precision - old_precision))
            eta_sum.add_(eta, alpha=(1.0 - alpha) / c.clients).add_(site_mean, alpha=alpha)
            precision_sum.add_(precision, alpha=(1.0 - alpha) / c.clients).add_(site_precision, alpha=alpha)
        server.precision.copy_((precision_sum + alpha * c.prior_precision).clamp_(min=1e-3 * c.prior_precision))
        server.mean.copy_(eta_sum / server.precision)
        self.train_loss = losses / (c.clients * c.steps_per_client)
        self.rounds += 1


def rms(values):
    return float(np.sqrt(np.mean(np.square(values))))


def check_draws(device):
    """Every normal is new and N(0, 1) in its first moments, every order a permutation."""
    draws, n = RandomDraws(device, 5), 1 << 17
    first, second = (torch.empty(n, device=device) for _ in range(2))
    draws.fill_noise(first, 0, 0, 0)
    draws.fill_noise(second, 0, 0, 1)
    a, b = first.double().cpu().numpy(), second.double().cpu().numpy()
    # Five standard deviations of each estimate.
    for name, value, deviation in [('mean', a.mean(), 1.0), ('variance', np.mean(a * a) - 1.0, math.sqrt(2.0)),
                                   ('product of two draws', np.mean(a * b), 1.0)]:
        yield f'noise, {name}', abs(float(value)), 5.0 * deviation / math.sqrt(n)
    order = draws.order(0, 0, 0, 600).cpu().numpy()
    yield 'minibatch order, entries missing', float(600 - len(set(order.tolist()) & set(range(600)))), 0.0


def check_rounds(device, dtype, clip):
    """Two rounds of two clients on given noise and order, the last batch of an epoch smaller, against ivon_numpy.py.
    Round 1 starts from the network's initial weights without sites, round 2 from the server's posterior with them."""
    settings = dataclasses.replace(Settings(), clients=2, examples=150, epochs=2, clip=clip)
    x, labels, start = random_data(settings, 300, seed=3)
    draws = GivenDraws(settings, len(start), device)
    ours = Federation(settings, device, dtype, x, labels, start)
    exact = ivon_numpy.Federation(settings, start.double().numpy(), x.double().numpy(), labels.numpy())
    relative, roundings, unit = TOLERANCES[dtype]
    where = f'{str(dtype).removeprefix("torch.")}, {"no clip" if math.isinf(clip) else f"clip {clip:g}"}'
    names = ('server mean', 'server precision', 'site mean', 'site precision')

    def state():
        return [exact.m_g, exact.s_g, np.stack(exact.v), np.stack(exact.V)]

    for number in range(2):
        before = state()
        ours.round(draws)
        exact.round(draws)
        got = [ours.server.mean, ours.server.precision, ours.site_mean, ours.site_precision]
        for name, old, new, tensor in zip(names, before, state(), got):
            yield (f'{where}, round {number + 1}, {name}', rms(tensor.double().cpu().numpy() - new),
                   relative * rms(new - old) + roundings * unit * rms(new))
        yield (f'{where}, round {number + 1}, loss', abs(ours.train_loss - exact.train_loss),
               relative * abs(exact.train_loss))


def check_reference():
    """The derivative in ivon_numpy.py against a central difference, whose own error is about 1e-6 here."""
    settings = Settings()
    x, labels, start = random_data(settings, 64, seed=4)
    direction = np.random.default_rng(4).standard_normal(len(start))
    error = ivon_numpy.slope_error(start.double().numpy(), settings.widths, x.double().numpy(), labels.numpy(),
                                   direction)
    yield 'derivative of the reference', float(error), 1e-4


def check(device):
    """(what, error, allowed error) of every comparison."""
    results = [*check_reference(), *check_draws(device)]
    for dtype in (torch.float64, torch.float32):
        for clip in (math.inf, 0.5):
            results += check_rounds(device, dtype, clip)
    return results


def device_name(device):
    if device.type == 'cuda':
        return torch.cuda.get_device_name(device)
    try:
        with open('/proc/cpuinfo', encoding='utf-8') as lines:
            return next(line.split(':', 1)[1].strip() for line in lines if line.startswith('model name'))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def timed_round(federation, draws, device):
    """Seconds of one round, from an idle device until its last operation has finished."""
    if device.type == 'cuda':
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize(device)
        begin.record()
        federation.round(draws)
        end.record()
        torch.cuda.synchronize(device)
        return begin.elapsed_time(end) * 1e-3
    begin = time.perf_counter()
    federation.round(draws)
    return time.perf_counter() - begin


def measure(settings, device, repetitions):
    federation = Federation(settings, device, torch.float32, *random_data(settings, DATA_ROWS, seed=1))
    draws = RandomDraws(device, seed=2)
    federation.round(draws)  # warm-up: the first round starts without sites, and the device's libraries load
    federation.steps = 0
    seconds = sorted(timed_round(federation, draws, device) for _ in range(repetitions))
    steps = federation.steps // repetitions
    median = seconds[len(seconds) // 2]
    return {'round_seconds': median, 'round_seconds_fastest': seconds[0], 'round_seconds_slowest': seconds[-1],
            'repetitions': repetitions, 'clients': settings.clients, 'epochs': settings.epochs,
            'batch': settings.batch, 'steps': steps, 'step_us': median / steps * 1e6,
            'train_loss': federation.train_loss}


class Parser(argparse.ArgumentParser):
    def error(self, message):
        stop(f"the command line must hold options of --help and their values only, got '{message}'; see --help", 2)


def whole(name, text, most):
    """An option's value from 1 to `most`."""
    if not re.fullmatch(r'[0-9]{1,9}', text) or not 1 <= int(text) <= most:
        stop(f"--{name} must be a whole number from 1 to {most}, got '{text}'; for example --{name} 1", 2)
    return int(text)


def device_of(text):
    if text is None:
        text = 'cuda' if torch.cuda.is_available() else 'cpu'
    if not re.fullmatch(r'cpu|cuda(:[0-9]{1,3})?', text):
        stop(f"--device must be cpu, cuda or cuda:N, got '{text}'; for example --device cpu", 2)
    device = torch.device(text)
    if device.type == 'cpu':
        return device
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if (device.index or 0) >= count:
        stop(f"--device must name a CUDA device that PyTorch sees, got '{text}' where it sees {count}; "
             + ('use --device cpu, or a PyTorch built for CUDA on a machine with a GPU' if count == 0 else
                f'use cuda:0 to cuda:{count - 1}'), 2)
    device = torch.device('cuda', device.index or 0)
    torch.cuda.set_device(device)  # events and streams are those of the current device
    return device


def read_options():
    parser = Parser(description='Times one round of local training in PyTorch: the work of round_of_mnist in '
                    'bench/bench.cpp.', allow_abbrev=False)
    parser.add_argument('--device', metavar='DEVICE', help='cpu, cuda or cuda:N (default: cuda where there is one)')
    parser.add_argument('--clients', default='100', metavar='N', help='clients in a round (default 100)')
    parser.add_argument('--epochs', default='10', metavar='N', help='epochs of each client (default 10)')
    parser.add_argument('--batch', default='64', metavar='N', help='examples in a minibatch (default 64)')
    parser.add_argument('--repetitions', default='5', metavar='N', help='timed rounds after a warm-up (default 5)')
    parser.add_argument('--threads', metavar='N', help="processor threads (default: PyTorch's own choice)")
    parser.add_argument('--json', action='store_true', help='print one JSON object and nothing else')
    parser.add_argument('--check', action='store_true', help='print the check in full, and time nothing')
    options = parser.parse_args()
    settings = dataclasses.replace(Settings(), clients=whole('clients', options.clients, 10000),
                                   epochs=whole('epochs', options.epochs, 10000),
                                   batch=whole('batch', options.batch, Settings.examples))
    repetitions = whole('repetitions', options.repetitions, 1000)
    if options.threads is not None:
        torch.set_num_threads(whole('threads', options.threads, 1024))
    return options, settings, repetitions, device_of(options.device)


def main():
    options, settings, repetitions, device = read_options()
    torch.set_float32_matmul_precision('highest')  # TF32 off
    about = {'device': device_name(device), 'kind': device.type, 'threads': torch.get_num_threads(),
             'torch': torch.__version__, 'cuda': torch.version.cuda if device.type == 'cuda' else None,
             'precision': 'float32, TF32 off'}
    if not options.json:
        print(f'{about["device"]}, {about["threads"]} threads, PyTorch {about["torch"]}, {about["precision"]}')

    results = check(device)
    wrong = [result for result in results if not result[1] <= result[2]]  # NaN is wrong
    if options.check:
        if options.json:
            rows = [{'what': what, 'error': error if math.isfinite(error) else None, 'allowed': allowed}
                    for what, error, allowed in results]
            print(json.dumps({**about, 'passed': not wrong, 'check': rows}))
        else:
            for what, error, allowed in results:
                print(f'{what:<48} error {error:.2e}, allowed {allowed:.2e}{"" if error <= allowed else "  WRONG"}')
    if wrong:
        what, error, allowed = wrong[0]
        stop(f'{len(wrong)} of {len(results)} checked results must be closer to the equations, got an error of '
             f'{error:.2e} where {allowed:.2e} is allowed in "{what}"; nothing is timed, --check shows all', 1)
    if options.check:
        return

    times = measure(settings, device, repetitions)
    if options.json:
        print(json.dumps({**times, **about, 'checked': len(results)}))
        return
    print(f'check passed ({len(results)} comparisons)')
    print(f'{"round":<12} {times["round_seconds"]:.4g} s ({times["round_seconds_fastest"]:.4g} to '
          f'{times["round_seconds_slowest"]:.4g}, {repetitions} repetitions)')
    print(f'{"step":<12} {times["step_us"]:.4g} us ({times["steps"]} steps of {settings.clients} clients)')


if __name__ == '__main__':
    try:
        main()
    except RuntimeError as error:  # PyTorch's own: no memory, a driver that does not fit
        stop(f"PyTorch must be able to do the work on this device, got '{str(error).splitlines()[0]}'; use fewer "
             '--clients, or --device cpu', 1)
