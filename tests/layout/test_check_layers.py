#!/usr/bin/env python3
"""check_layers.py on small trees: each rule fires on a file that breaks it, and on nothing else."""
import pathlib
import tempfile
import unittest

import check_layers

GOOD = {
    'meson.build': "layers = ['dense']\noptimizers = []\nalgorithms = []\n",
    'include/ivory/error.hpp': '#include <string>\n',
    'include/ivory/layer.hpp': '#include "ivory/error.hpp"\n',
    'clients/layers/dense.cpp': '#include "ivory/layer.hpp"\n#include "clients/terms.hpp"\n',
    'kernels/cpu/device.cpp': '#include <Eigen/Core>\n#include "kernels/cpu/isa.hpp"\n',
    'src/hdf5_file.cpp': '#include <hdf5.h>\n#include <filesystem>\n#include "src/hdf5_file.hpp"\n',
    'tests/layers/test_dense.cpp': '#include <chrono>\n#include "tests/support/visit.hpp"\n',
}


class Layers(unittest.TestCase):
    def problems(self, changes):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            for name, text in {**GOOD, **changes}.items():
                if text is not None:
                    (root / name).parent.mkdir(parents=True, exist_ok=True)
                    (root / name).write_text(text, encoding='utf-8')
            return list(check_layers.problems(root))

    def test_a_tree_that_keeps_the_rules(self):
        self.assertEqual(self.problems({}), [])

    def test_each_rule_fires_once(self):
        for name, text, said in [
            ('clients/a.cpp', '#include "server/sums.hpp"\n', 'may not include "server/sums.hpp"'),
            ('clients/a.cpp', '#include "kernels/cpu/isa.hpp"\n', 'may not include "kernels/cpu/isa.hpp"'),
            ('server/a.cpp', '#include "clients/loss.hpp"\n', 'may not include "clients/loss.hpp"'),
            ('server/a.cpp', ' # include "src/partition.hpp"\n', 'may not include "src/partition.hpp"'),
            ('kernels/cpu/a.cpp', '#include "src/partition.hpp"\n', 'may not include "src/partition.hpp"'),
            ('src/a.cpp', '#include "kernels/cpu/isa.hpp"\n', 'may not include "kernels/cpu/isa.hpp"'),
            ('src/a.cpp', '#include "tests/support/visit.hpp"\n', 'may not include "tests/support/visit.hpp"'),
            ('src/a.cpp', '#include "partition.hpp"\n', 'may not include "partition.hpp"'),
            ('include/ivory/error.hpp', '#include "ivory/layer.hpp"\n', 'does not come before it'),
            ('include/ivory/unknown.hpp', '#include "ivory/error.hpp"\n', 'does not come before it'),
            ('src/a.cpp', '#include <toml++/toml.h>\n', 'TOML'),
            ('src/a.cpp', '#include <hdf5_hl.h>\n', 'HDF5'),
            ('src/a.cpp', '#include <CLI/CLI.hpp>\n', 'CLI11'),
            ('clients/a.hpp', '#include <zlib.h>\n', 'compressed'),
            ('server/a.cpp', '#include <fstream>\n', 'knows files'),
            ('clients/a.cpp', '#include <chrono>\n', 'the clock'),
            ('src/a.cpp', '#include <random>\n', 'random numbers'),
            ('clients/a.cpp', '#include <Eigen/Core>\n', 'Eigen'),
            ('clients/a.cpp', '#include <fmt/format.h>\n', 'nvcc'),
            ('src/diagnostics.hpp', '#include <fmt/core.h>\n', 'nvcc'),
            ('include/ivory/a.hpp', '#include <immintrin.h>\n', 'intrinsics'),
            ('src/a.cpp', '#include <cuda_runtime.h>\n', 'CUDA'),
            ('clients/optimizers/new.cpp', '', 'not in the list'),
            ('tests/layers/test_dense.cpp', None, 'has no tests/layers/test_dense.cpp'),
            ('src/long.cpp', '//\n' * 501, '501 lines'),
        ]:
            with self.subTest(name=name, text=text[:40] if text else None):
                found = self.problems({name: text})
                self.assertTrue(any(said in line for line in found), found)
                if name != 'clients/optimizers/new.cpp':  # which has no test either
                    self.assertEqual(len(found), 1, found)

    def test_an_empty_tree_is_not_a_good_one(self):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            (root / 'meson.build').write_text("layers = []\n", encoding='utf-8')
            self.assertIn('no source file found', '\n'.join(check_layers.problems(root)))


if __name__ == '__main__':
    unittest.main()
