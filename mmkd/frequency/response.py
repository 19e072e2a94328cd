"""What filters do to maps, measured: mean power spectra, magnitudes of responses, and what a mask leaves.

Frequencies are those of the circular Fourier transform, in the order of `torch.fft.fftn`, with the mean ("DC") first.
Transforms are orthonormal: by Parseval's theorem, the sum of a power spectrum is the energy of the map. Everything here
is the same at f and -f, so that the half spectrum of `torch.fft.rfftn` tells all of it (`half_spectrum`).
"""

import torch
from torch import Tensor

from mmkd.frequency.attention import FrequencyAttention
from mmkd.frequency.bases import basis, change
from mmkd.frequency.masks import high_pass
from mmkd.frequency.spectrum import half, reversed_frequencies


def half_spectrum(full: Tensor) -> Tensor:
    """The bins of `torch.fft.rfftn`, (*size[:-1], W // 2 + 1), of a full grid (*size)."""
    return full[..., : half(full.shape[-1])]


def mean_power(x: Tensor) -> Tensor:
    """Mean power spectrum of maps over samples and channels.

    Args:
        x: (B, C, *size).

    Returns:
        (*size) float64: the mean of abs(FFT)^2. Its sum is the mean energy of a channel.
    """
    spectra = torch.view_as_real(torch.fft.rfftn(x, dim=tuple(range(2, x.ndim)), norm="ortho"))
    power = torch.einsum("bc...k,bc...k->...", spectra, spectra).double() / (x.shape[0] * x.shape[1])
    rest = [power.new_zeros(*power.shape[:-1], x.shape[-1] - power.shape[-1])]
    mirrored = reversed_frequencies(torch.cat([power, *rest], dim=-1), tuple(range(power.ndim)))
    return torch.cat([power, mirrored[..., power.shape[-1] :]], dim=-1)


def in_fourier(energy: Tensor, transform: str) -> Tensor:
    """Express factors of energy by bin of a basis as factors of energy by Fourier frequency.

    A wave of one Fourier frequency and of energy 1 has the share abs(<b, wave>)^2 in each basis function b. Multiplied
    by the factors of the bins, the shares add up to the energy that a filter in this basis puts out.

    Args:
        energy: (*size), a factor of each bin.
        transform: `fft`, `dct` or `haar`.

    Returns:
        (*size) float64.
    """
    energy = energy.double()
    if transform == "fft":
        return energy
    for axis, n in enumerate(energy.shape):
        waves = torch.fft.fft(torch.eye(n, dtype=torch.float64), norm="ortho")
        shares = (waves.conj() @ basis(transform, n).T.to(waves)).abs().square()
        energy = torch.movedim(torch.movedim(energy, axis, -1) @ shares.T, -1, axis)
    return energy


def response(attention: FrequencyAttention) -> Tensor:
    """Magnitude of the response of the global branch, mask and gain included.

    Returns:
        (*size[:-1], W // 2 + 1) float64: the root mean square over all pairs of an input and an output channel. For
        `fft` it is that of the Fourier transform (not normalised) of the impulse responses. For `dct` and `haar`, which
        mix frequencies, it is the root of the energy that comes out for a wave of this frequency, see `in_fourier`.

    Raises:
        MmkdError: The module has no global branch.
    """
    filter = attention.spectrum(torch.float64).detach().cpu()
    gain = 1.0 if attention.rate_global is None else float(attention.rate_global.detach())
    if attention.transform != "fft":
        return half_spectrum(in_fourier(filter.square().mean((-1, -2)), attention.transform)).sqrt() * abs(gain)
    return filter.square().sum(-1).mean((-1, -2)).sqrt() * abs(gain)


def kept_energy(size: tuple[int, ...], mask: str, cutoff: float, transform: str = "fft") -> Tensor:
    """The share of the energy that a high-pass mask keeps of a real map, by bin of the transform.

    Of an asymmetric mask, the real part of what it leaves is meant: a frequency of which it keeps one sign keeps half
    of the amplitude, and a quarter of the energy.

    Args:
        size: (T,) or (H, W).
        mask: as for `high_pass`; likewise `cutoff` and `transform`.

    Returns:
        (*size) float64.
    """
    factors = high_pass(size, mask, cutoff, transform)
    if transform == "fft":
        factors = (factors + reversed_frequencies(factors, tuple(range(factors.ndim)))) / 2
    return factors.square()


def removed_share(x: Tensor, kept: Tensor, transform: str = "fft") -> float:
    """The share of the energy of maps that factors of energy by bin remove.

    Args:
        x: (B, C, *size).
        kept: (*size), as from `kept_energy`.
        transform: of the bins.

    Returns:
        In [0, 1]; 0 of maps without energy.
    """
    x = x.detach().double().cpu()
    power = mean_power(x) if transform == "fft" else change(x, transform).square().mean((0, 1))
    total = float(power.sum())
    return float(((1 - kept) * power).sum()) / total if total > 0 else 0.0
