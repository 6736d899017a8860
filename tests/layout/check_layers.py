#!/usr/bin/env python3
"""Fails where a file includes what its folder may not see, grows too long, or is a plug-in that nobody listed or tested.

The arrows it guards (a folder includes only what is below it, and clients, server and kernels never each other):

                    tests, bench
                        src
        clients       server       kernels
                   include/ivory
"""
import pathlib
import re
import sys

MAY_SEE = {  # folder -> prefixes of quoted includes
    'include': ('ivory/',),
    'kernels': ('ivory/', 'kernels/'),
    'clients': ('ivory/', 'clients/'),
    'server': ('ivory/', 'server/'),
    'src': ('ivory/', 'clients/', 'server/', 'src/'),
    'bench': ('ivory/', 'clients/', 'server/', 'src/', 'kernels/', 'bench/'),
    'tests': ('ivory/', 'clients/', 'server/', 'src/', 'kernels/', 'tests/'),
}
# A header of include/ivory includes only headers named before it, so a cycle cannot be written.
ORDER = ('error options math rng simd convolution device buffer launch loops launch_cuda elementwise gaussian full_gaussian parameters dataset public_model messages quantiles record scenario '
         'layer optimizer algorithm registry').split()
# What only some files of the product know; tests and benchmarks may use all of it.
ONLY_IN = [
    # header, files that may include it, why
    (r'toml\+\+/|toml\.hpp', r'src/(scenario_\w+|log_reader)\.[ch]pp', 'TOML is read from scenarios, also those in logs'),
    (r'hdf5|H5', r'src/hdf5_\w+\.[ch]pp', 'HDF5 is behind src/hdf5_file.hpp'),
    (r'CLI/', r'src/cli\w*\.[ch]pp', 'only the command line knows CLI11'),
    (r'nlohmann/', r'src/leaf_json\.cpp', 'JSON is read in one place'),
    (r'zlib\.h', r'src/byte_source\.cpp', 'compressed files are read in one place'),
    (r'filesystem|fstream', r'src/.*', 'only src/ knows files'),
    (r'chrono|ctime|time\.h|sys/time\.h', r'src/.*', 'only src/ knows the clock'),
    (r'random', r'(?!)', 'random numbers come from ivory/rng.hpp'),
    (r'Eigen/', r'kernels/cpu/.*', 'Eigen is the CPU backend'),
    (r'fmt/', r'kernels/.*|src/(?!(diagnostics|evaluation|sensitivity|verify_clients)\.).*', 'nvcc cannot read {fmt}, and these files start loops'),
    (r'immintrin\.h|x86intrin\.h', r'kernels/cpu/.*', 'intrinsics belong to a backend'),
    (r'cuda|cublas|cudnn|thrust/|cub/', r'kernels/cuda/.*|include/ivory/launch_cuda\.hpp', 'CUDA is a backend'),
]
PLUGINS = ('clients/layers', 'clients/optimizers', 'server/algorithms')
MAX_LINES = 500


def includes(text):
    return re.findall(r'^\s*#\s*include\s*([<"])([^>"]+)', text, re.M)


def wrong_includes(name, text):
    folder = name.split('/')[0]
    for mark, header in includes(text):
        if mark == '"' and not header.startswith(MAY_SEE[folder]):
            yield f'{name}: may not include "{header}"; {folder}/ sees ' + ', '.join(MAY_SEE[folder])
        if folder == 'include' and header.startswith('ivory/'):
            above, below = pathlib.PurePath(name).stem, pathlib.PurePath(header).stem
            if above not in ORDER or below not in ORDER[:ORDER.index(above)]:
                yield f'{name}: "{header}" does not come before it in ORDER'
        if folder not in ('tests', 'bench'):
            for pattern, allowed, why in ONLY_IN:
                if re.match(pattern, header) and not re.fullmatch(allowed, name):
                    yield f'{name}: may not include <{header}>: {why}'


def plugin_lists(meson):
    """The words of `layers = [...]`, `optimizers = [...]` and `algorithms = [...]`."""
    lists = {}
    for kind in PLUGINS:
        name = kind.split('/')[1]
        found = re.search(rf'^{name} = \[(.*?)\]', meson, re.M | re.S)
        lists[kind] = set(re.findall(r"'(\w+)'", found[1])) if found else set()
    return lists


def wrong_plugins(root):
    for kind, listed in plugin_lists((root / 'meson.build').read_text(encoding='utf-8')).items():
        sources = {path.stem for path in (root / kind).glob('*.cpp')}
        for name in sorted(sources - listed):
            yield f'{kind}/{name}.cpp: not in the list of plug-ins in meson.build'
        for name in sorted(sources | listed):
            test = f'tests/{kind.split("/")[1]}/test_{name}.cpp'
            if not (root / test).is_file():
                yield f'{kind}/{name}.cpp: has no {test}'


def problems(root):
    count = 0
    for folder in [*MAY_SEE, 'analysis', 'tools']:
        for path in sorted((root / folder).rglob('*')):
            if path.suffix not in {'.hpp', '.cpp', '.cu', '.cuh', '.py'}:
                continue
            count += 1
            name, text = path.relative_to(root).as_posix(), path.read_text(encoding='utf-8')
            if path.suffix != '.py':
                yield from wrong_includes(name, text)
            lines = len(text.splitlines())
            if lines > MAX_LINES:
                yield f'{name}: {lines} lines, limit {MAX_LINES}; is it two things?'
    if count == 0:
        yield f'{root}: no source file found'
    yield from wrong_plugins(root)


if __name__ == '__main__':
    wrong = list(problems(pathlib.Path(sys.argv[1]).resolve()))
    print('\n'.join(wrong) or 'layers ok')
    sys.exit(bool(wrong))
