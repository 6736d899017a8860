"""Rounds of VB-ADMM with IVON clients in double precision: what pytorch_ivon.py is checked against.

Written from the equations alone (docs/methods.md, "IVON" and "VB-ADMM"), term by term and matrix by matrix, and slow.
It shares no formula with pytorch_ivon.py, which rearranges them and works on one flat vector.
"""
import numpy as np


def layers_of(theta, widths):
    """(weight [out, in], bias [out]) of every layer of the flat vector: weight 1, bias 1, weight 2, ..."""
    layers, at = [], 0
    for inputs, outputs in zip(widths, widths[1:]):
        weight = theta[at:at + inputs * outputs].reshape(outputs, inputs)
        at += inputs * outputs
        layers.append((weight, theta[at:at + outputs]))
        at += outputs
    return layers


def loss_and_gradient(theta, widths, x, labels):
    """Mean cross-entropy of the sigmoid network and its derivative, by hand."""
    layers = layers_of(theta, widths)
    outputs = [x]
    for number, (weight, bias) in enumerate(layers):
        value = outputs[-1] @ weight.T + bias
        outputs.append(value if number + 1 == len(layers) else 1.0 / (1.0 + np.exp(-value)))
    logits = outputs.pop()
    logits = logits - logits.max(axis=1, keepdims=True)
    log_probability = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    rows = np.arange(len(labels))
    error = np.exp(log_probability)
    error[rows, labels] -= 1.0
    error /= len(labels)
    pieces = []
    for (weight, _), output in zip(reversed(layers), reversed(outputs)):
        pieces += [error.sum(axis=0), (error.T @ output).ravel()]
        error = (error @ weight) * output * (1.0 - output)
    return -log_probability[rows, labels].mean(), np.concatenate(pieces[::-1])


def slope_error(theta, widths, x, labels, direction):
    """Relative error of the derivative along `direction` against a central difference."""
    step = 1e-4
    above, _ = loss_and_gradient(theta + step * direction, widths, x, labels)
    below, _ = loss_and_gradient(theta - step * direction, widths, x, labels)
    slope = loss_and_gradient(theta, widths, x, labels)[1] @ direction
    return abs((above - below) / (2.0 * step) - slope) / abs(slope)


class Federation:
    """Server and sites. `settings` has the fields of pytorch_ivon.Settings."""

    def __init__(self, settings, start, x, labels):
        self.settings, self.start, self.x, self.labels = settings, start, x, labels
        self.rounds = 0
        self.m_g = np.zeros_like(start)
        self.s_g = np.full_like(start, settings.prior_precision)
        self.v = [np.zeros_like(start) for _ in range(settings.clients)]
        self.V = [np.zeros_like(start) for _ in range(settings.clients)]
        self.train_loss = None

    def visit(self, client, draws):
        """(m_k, s_k, mean loss over the steps) of one client's local training."""
        c = self.settings
        n = c.examples
        lam = n / (c.temperature * c.rho)
        prior = self.s_g / lam
        v, V = c.temperature * self.v[client] / n, c.temperature * self.V[client] / n
        first = self.rounds == 0
        m = self.start.copy() if first else self.m_g.copy()
        h = np.full_like(m, c.hess_init if first else 0.0)
        g = np.zeros_like(m)
        own = client * n % len(self.x) + np.arange(n)
        t, loss_sum = 0, 0.0
        for epoch in range(c.epochs):
            order = own[draws.order_of(self.rounds, client, epoch)]
            for begin in range(0, n, c.batch):
                rows = order[begin:begin + c.batch]
                eps = draws.noise_of(self.rounds, client, t) / np.sqrt(lam * (h + prior))
                loss, ghat = loss_and_gradient(m + eps, c.widths, self.x[rows], self.labels[rows])
                t, loss_sum = t + 1, loss_sum + loss
                g = c.beta1 * g + (1.0 - c.beta1) * ghat
                hhat = lam * (h + prior) * (eps * ghat) - V
                h = c.beta2 * h + (1.0 - c.beta2) * hhat + 0.5 * (1.0 - c.beta2)**2 * (h - hhat)**2 / (h + prior)
                u = (g / (1.0 - c.beta1**t) + (v - V * m) + prior * (m - self.m_g)) / (h + prior)
                m = m - c.lr * np.clip(u, -c.clip, c.clip)
        return m, lam * (h + prior), loss_sum / t

    def round(self, draws):
        c = self.settings
        alpha = 1.0 / (1.0 + c.clients * c.rho)
        posteriors = [self.visit(client, draws) for client in range(c.clients)]
        for client, (m, s, _) in enumerate(posteriors):
            self.v[client] = self.v[client] + c.damping * c.rho * (s * m - self.s_g * self.m_g)
            self.V[client] = self.V[client] + c.damping * c.rho * (s - self.s_g)
        eta = (1.0 - alpha) * np.mean([s * m for m, s, _ in posteriors], axis=0) + alpha * sum(self.v)
        s_g = (1.0 - alpha) * np.mean([s for _, s, _ in posteriors], axis=0)
        s_g = s_g + alpha * (c.prior_precision + sum(self.V))
        self.s_g = np.maximum(s_g, 1e-3 * c.prior_precision)
        self.m_g = eta / self.s_g
        self.train_loss = np.mean([loss for _, _, loss in posteriors])
        self.rounds += 1
