"""Damage to HDF5 files, for tests of what reads them. Every kind is keyed by a seed: the same seed, the same damage."""
import os
import random
import shutil

import h5py
import numpy

HUGE = 2**40


def file_damage(path, seed):
    """Truncates the file or flips some of its bytes; says what it did."""
    draw, size = random.Random(f'bytes {seed}'), path.stat().st_size
    kind = draw.choice(('cut', 'flip', 'flip', 'flip', 'zeros', 'ones', 'double', 'swap'))
    # Structure lies at the beginning and between the data; half of the places are near the beginning.
    place = lambda: draw.randrange(size) if draw.random() < 0.5 else draw.randrange(min(size, 16384))
    if kind == 'cut':
        length = place()
        os.truncate(path, length)
        return f'cut at {length}'
    with open(path, 'r+b') as file:
        at, length = place(), draw.choice((1, 2, 4, 8, 64, 512))
        if kind == 'flip':
            places = sorted({place() for _ in range(draw.choice((1, 1, 2, 8)))})
            for one in places:
                file.seek(one)
                byte = file.read(1)[0] ^ (1 << draw.randrange(8))
                file.seek(one)
                file.write(bytes([byte]))
            return f'bits flipped at {places}'
        file.seek(at)
        before = file.read(length)
        file.seek(at)
        other = {'zeros': bytes(len(before)), 'ones': b'\xff' * len(before), 'double': before * 2, 'swap': before[::-1]}
        file.write(other[kind])
        return f'{kind}: {length} bytes at {at}'


def replace(file, path, make):
    """Puts what `make(file, path)` makes in the place of an object."""
    attributes = dict(file[path].attrs)
    del file[path]
    made = make(file, path)
    if isinstance(made, h5py.Dataset):
        for name, value in attributes.items():
            if name not in ('CLASS', 'NAME', 'DIMENSION_LIST', 'REFERENCE_LIST', '_FillValue'):
                made.attrs[name] = value


def unallocated(file, path, shape, kind, external=None):
    """A dataset that claims `shape` and has no bytes (or those of another file)."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_layout(h5py.h5d.CONTIGUOUS)
    if external is None:
        properties.set_alloc_time(h5py.h5d.ALLOC_TIME_LATE)
    else:
        properties.set_external(external, 0, int(numpy.prod(shape)) * kind.get_size())
    h5py.h5d.create(file.id, path.encode(), kind, h5py.h5s.create_simple(tuple(shape)), properties)
    return file[path]


def text_type(length):
    kind = h5py.h5t.C_S1.copy()
    kind.set_size(length)
    return kind


def with_virtual(file, path, shape):
    layout = h5py.VirtualLayout(shape=shape or (1,), dtype='f8')
    layout[...] = h5py.VirtualSource('/nowhere/other.h5', 'x', shape=shape or (1,))
    return file.create_virtual_dataset(path, layout)


def damaged_chunk(file, path, shape):
    shape = tuple(max(1, length) for length in shape or (1,))
    made = file.create_dataset(path, shape=shape, dtype='f8', chunks=shape, compression='gzip')
    made.id.write_direct_chunk((0,) * len(made.shape), b'no deflated bytes', 0)
    return made


def values_of(file, path, value):
    """The same dataset with one value everywhere, in its own type where that holds it."""
    data = file[path]
    if data.dtype.kind in 'iu' and not numpy.isfinite(value):
        value = numpy.iinfo(data.dtype).min
    if data.dtype.kind in 'iu':
        value = int(numpy.clip(value, numpy.iinfo(data.dtype).min, numpy.iinfo(data.dtype).max))
    if data.dtype.kind in 'iuf':
        data[...] = numpy.full(data.shape, value, data.dtype)


def reshaped(change):
    def damage(file, path):
        shape, dtype = file[path].shape, file[path].dtype
        wanted = change(shape)
        replace(file, path, lambda f, p: f.create_dataset(p, data=numpy.ones(wanted, dtype) if dtype.kind != 'S'
                                                          else numpy.full(wanted, b'x', dtype)))
    return damage


def made(make):
    return lambda file, path: replace(file, path, lambda f, p, shape=file[path].shape: make(f, p, shape))


def linked(link):
    def damage(file, path):
        del file[path]
        file[path] = link(path)
    return damage


DOUBLE, LONG = h5py.h5t.NATIVE_DOUBLE, h5py.h5t.NATIVE_INT64
DATASETS = {
    'missing': lambda file, path: file.__delitem__(path),
    'text': made(lambda f, p, shape: f.create_dataset(p, data=numpy.full(shape, b'12', 'S4'))),
    'numbers': made(lambda f, p, shape: f.create_dataset(p, data=numpy.full(shape, 1.5))),
    'one axis more': reshaped(lambda shape: (*shape, 2)),
    'one axis before': reshaped(lambda shape: (1, *shape)),
    'no axis': reshaped(lambda shape: ()),
    'one row less': reshaped(lambda shape: (max(0, shape[0] - 1), *shape[1:]) if shape else (0,)),
    'one row more': reshaped(lambda shape: (shape[0] + 1, *shape[1:]) if shape else (2,)),
    'one column less': reshaped(lambda shape: (*shape[:-1], max(0, shape[-1] - 1)) if shape else (3,)),
    'no rows': reshaped(lambda shape: (0, *shape[1:])),
    'null space': made(lambda f, p, shape: f.create_dataset(p, data=h5py.Empty('f8'))),
    'huge, no bytes': made(lambda f, p, shape: unallocated(f, p, (HUGE,), DOUBLE)),
    'huge rows, no bytes': made(lambda f, p, shape: unallocated(f, p, (*shape[:1], HUGE), LONG)),
    'huge beyond 64 bits': made(lambda f, p, shape: unallocated(f, p, (2**31, 2**31), h5py.h5t.NATIVE_INT8)),
    'huge in chunks': made(lambda f, p, shape: f.create_dataset(p, shape=(HUGE,), chunks=(64,), dtype='f8')),
    'large, no bytes': made(lambda f, p, shape: unallocated(f, p, (2**26,), DOUBLE)),
    'texts of 1 GB': made(lambda f, p, shape: unallocated(f, p, shape or (1,), text_type(2**30))),
    'texts of variable length': made(lambda f, p, shape: f.create_dataset(p, data=numpy.full(shape, 'x', object),
                                                                          dtype=h5py.string_dtype())),
    'lists of variable length': made(lambda f, p, shape: f.create_dataset(p, shape=shape or (1,), dtype=h5py.vlen_dtype('i4'))),
    'records': made(lambda f, p, shape: f.create_dataset(p, shape=shape, dtype=[('a', 'f8'), ('b', 'i4')])),
    'references': made(lambda f, p, shape: f.create_dataset(p, shape=shape, dtype=h5py.ref_dtype)),
    'arrays as elements': made(lambda f, p, shape: f.create_dataset(p, shape=shape, dtype=numpy.dtype(('f8', (3,))))),
    'opaque': made(lambda f, p, shape: f.create_dataset(p, shape=shape, dtype='V8')),
    'other byte order': made(lambda f, p, shape: f.create_dataset(p, data=numpy.ones(shape, '>f4'))),
    'a group': lambda file, path: replace(file, path, lambda f, p: f.create_group(p)),
    'link to nothing': linked(lambda path: h5py.SoftLink('/nothing/here')),
    'link to itself': linked(lambda path: h5py.SoftLink(path)),
    'link to the root': linked(lambda path: h5py.SoftLink('/')),
    'link to another file': linked(lambda path: h5py.ExternalLink('/nowhere/other.h5', '/x')),
    'link to a device': linked(lambda path: h5py.ExternalLink('/dev/zero', '/x')),
    'bytes of another file': made(lambda f, p, shape: unallocated(f, p, shape or (1,), DOUBLE, b'/etc/hostname')),
    'virtual': made(with_virtual),
    'damaged chunk': made(damaged_chunk),
    'NaN': lambda file, path: values_of(file, path, numpy.nan),
    'negative': lambda file, path: values_of(file, path, -1),
    'large values': lambda file, path: values_of(file, path, 2.0**62),
    'infinite': lambda file, path: values_of(file, path, numpy.inf),
}


def attribute(value):
    def damage(item, name):
        if name in item.attrs:
            del item.attrs[name]
        if isinstance(value, list):
            lists = numpy.empty(1, object)
            lists[0] = numpy.array(value, 'i4')
            item.attrs.create(name, lists, dtype=h5py.vlen_dtype('i4'))
        elif value is not None:
            item.attrs.create(name, value)
    return damage


ATTRIBUTES = {
    'missing': attribute(None),
    'text': attribute(numpy.bytes_(b'12')),
    'empty text': attribute(h5py.Empty('S1')),
    'text of variable length': attribute('of variable length'),
    'long text': attribute(numpy.bytes_(b'[' * 60000)),
    'text with control characters': attribute(numpy.bytes_(b'a\n\x1b[2Jb\xff\xfe')),
    'three values': attribute(numpy.arange(3)),
    'no value': attribute(numpy.zeros(0)),
    'null space': attribute(h5py.Empty('f8')),
    'NaN': attribute(numpy.float64('nan')),
    'real': attribute(numpy.float64(1e300)),
    'negative': attribute(numpy.int64(-1)),
    'least': attribute(numpy.int64(-2**63)),
    'huge': attribute(numpy.int64(2**62)),
    'beyond int': attribute(numpy.int64(2**31)),
    'large': attribute(numpy.int64(10**8)),
    'zero': attribute(numpy.int64(0)),
    'list of variable length': attribute([1, 2, 3]),
    'record': attribute(numpy.zeros((), dtype=[('a', 'f8')])),
}


def links_to_ancestors(file):
    for group in list(file):
        if isinstance(file[group], h5py.Group):
            file[f'{group}/loop'] = file['/']


def many_links(file):
    group = file.create_group('wide')
    for i in range(40):
        group = group.create_group('deep')
        group['again'] = group


WHOLE = {
    'groups within themselves': links_to_ancestors,
    'groups far down': many_links,
    'a strange group': lambda file: file.create_group('stranger/within').attrs.create('x', 'text of variable length'),
    'long names': lambda file: file.create_group('n' * 5000).create_dataset('d' * 3000, data=numpy.arange(2000)).attrs.create(
        'a' * 400, 1),
    'a named type': lambda file: file.__setitem__('type', numpy.dtype('f8')),
    'a dataset of variable length': lambda file: file.create_dataset('extra', data=numpy.full(1000, 'text', object),
                                                                     dtype=h5py.string_dtype()),
    'a huge dataset': lambda file: unallocated(file, '/extra', (HUGE, HUGE >> 16), DOUBLE),
    'a huge dataset in chunks': lambda file: file.create_dataset('extra', shape=(2**24, 2**10), chunks=(1, 2**10), dtype='f4',
                                                                 fillvalue=1.0)[:3].sum(),
    'a huge dataset, little of it written': lambda file: file.create_dataset(
        'extra', shape=(2**34,), chunks=(2**10,), dtype='f4').__setitem__(7, 1.0),
    'bytes of another file': lambda file: unallocated(file, '/extra', (8,), h5py.h5t.NATIVE_INT8, b'/etc/hostname'),
    'a dataset without values': lambda file: file.create_dataset('extra', shape=(0, 5000), dtype='f4'),
    'a null dataset': lambda file: file.create_dataset('extra', data=h5py.Empty('f4')),
}


def damages(path):
    """[(words, object, damage of an open file)]: every kind for every object."""
    found = [(f'the file: {kind}', None, damage) for kind, damage in WHOLE.items()]
    with h5py.File(path) as file:
        datasets = []
        file.visititems(lambda name, item: datasets.append('/' + name) if isinstance(item, h5py.Dataset) else None)
        places = [('/', name) for name in file.attrs]
        file.visititems(lambda name, item: places.extend(('/' + name, own) for own in item.attrs)
                        if isinstance(item, h5py.Group) else None)
    for name in datasets:
        for kind, damage in DATASETS.items():
            found.append((f'{name}: {kind}', name, lambda file, damage=damage, name=name: damage(file, name)))
    for group, name in places:
        for kind, damage in ATTRIBUTES.items():
            found.append((f'{group}@{name}: {kind}', name,
                          lambda file, damage=damage, group=group, name=name: damage(file[group], name)))
    return found


def apply(original, path, damage):
    shutil.copy(original, path)
    with h5py.File(path, 'r+') as file:
        damage(file)
