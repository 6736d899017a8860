"""Reads the tables of docs/log-format.md: which objects a file holds, with shape, type and unit, and under which condition."""
import dataclasses
import re

CODE = re.compile(r'`([^`]*)`')


@dataclasses.dataclass(frozen=True)
class Condition:
    """Keys of the scenario that must be set (each to a value, or to anything but none, 0 or false), and flags."""
    keys: tuple = ()
    flags: tuple = ()

    def holds(self, scenario, flags):
        return all(is_set(value_of(scenario, table, key), wanted) for table, key, wanted in self.keys) and \
            all(flag in flags for flag in self.flags)


@dataclasses.dataclass
class Entry:
    """A scale, a dataset or an attribute."""
    kind: str
    name: str
    types: tuple  # any of these
    shape: tuple = ()  # symbols and numbers
    unit: str = '1'
    regression_unit: str = ''
    values: str = ''
    condition: Condition = Condition()


@dataclasses.dataclass
class Group:
    path: str
    condition: Condition
    entries: list


def value_of(scenario, table, key):
    for name in table.split('.'):
        scenario = scenario.get(name, {})
    return scenario.get(key)


def is_set(value, wanted):
    if wanted is not None:
        return str(value).lower() == wanted
    return value not in (None, 'none', 0, False, '', [])


def condition_of(clause):
    keys, flags = [], []
    for code in CODE.findall(clause):
        if code.startswith('--'):
            flags.append(code)
        elif found := re.fullmatch(r'\[([\w.]+)\] (\w+)(?: = "?([\w.]+)"?)?', code):
            keys.append(found.groups())
        else:
            raise ValueError(f'a condition is `[table] key`, `[table] key = value` or `--flag`, got `{code}` in: {clause}')
    return Condition(tuple(keys), tuple(flags))


def own_condition(cell):
    """The condition in "with `[log] sites` and `...`: meaning"."""
    found = re.match(r'with ((?:`[^`]*`(?:, | and )?)+):', cell)
    return condition_of(found[1]) if found else Condition()


def cells_of(line):
    return [cell.strip() for cell in line.strip().strip('|').split('|')]


def split_list(text):
    return [part.strip() for part in text.split(',')]


class Page:
    """`log`, `previews` and `replays`: {path of a group: Group}. The file's own attributes are those of "/"."""

    def __init__(self, text):
        self.words = {}  # METRIC -> [(name, unit)]
        self.log, self.previews, self.replays = {}, {}, {}
        groups, group = self.log, None
        lines = text.split('\n')
        for number, line in enumerate(lines):
            if line.startswith('## '):
                groups = {'## Previews': self.previews, '## Replays': self.replays}.get(line, self.log)
            elif line.startswith('### '):
                path = CODE.search(line)
                group = groups.setdefault(path[1] if path and path[1].startswith('/') else '/', None)
                group = Group(path[1] if path and path[1].startswith('/') else '/', Condition(), [])
                groups[group.path] = group
            elif group is not None and line.startswith('There with '):
                group.condition = condition_of(re.match(r'There with ((?:`[^`]*`(?:, | and )?)+)', line)[1])
            elif re.fullmatch(r'\|(-+\|)+', line):
                head = cells_of(lines[number - 1])
                for row in lines[number + 1:]:
                    if not row.startswith('|'):
                        break
                    self._row(group, head, cells_of(row))
        self._root(self.log)

    @staticmethod
    def _root(groups):
        """A heading may name a dataset of the file itself."""
        for path in [path for path, group in groups.items() if len(group.entries) == 1 and group.entries[0].name == path[1:]]:
            groups['/'].entries += groups.pop(path).entries

    def _row(self, group, head, cells):
        row = dict(zip(head, cells))
        if len(cells) != len(head):
            raise ValueError(f'a row has {len(head)} cells ({head}), got {cells}')
        if 'stands for' in row:
            names, units = CODE.findall(row['names']), split_list(row['unit'])
            self.words[row['stands for']] = list(zip(names, units * len(names) if len(units) == 1 else units))
        elif 'attribute' in row:
            group.entries += [Entry('attribute', name, (row['type'],)) for name in CODE.findall(row['attribute'])]
        elif 'scale' in row:
            group.entries += [Entry('scale', name, tuple(row['type'].split(' or ')), (row['length'],), values=row['values'],
                                    condition=own_condition(row['values'])) for name in CODE.findall(row['scale'])]
        elif 'shape' in row:
            self._datasets(group, row)

    def _datasets(self, group, row):
        shape = tuple(part for part in split_list(row['shape'].strip('[]')) if part)
        plain, _, regression = row['unit'].partition('; regression: ')
        names = CODE.findall(row['name'])
        units = split_list(plain)
        units = units * len(names) if len(units) == 1 else units
        if len(units) != len(names):
            raise ValueError(f'a row has one unit, or one for each name, got {row}')
        for name, unit in zip(names, units):
            for expanded, own_unit in self._expanded(name, unit):
                group.entries.append(Entry('dataset', expanded, tuple(row['type'].split(' or ')), shape, own_unit,
                                           regression, condition=own_condition(row['meaning'])))

    def _expanded(self, name, unit):
        word = next((word for word in self.words if word in re.findall('[A-Z]+', name)), None)
        if word is None:
            return [(name, unit)]
        return [(name.replace(word, each), own if unit == word + "'s" else unit) for each, own in self.words[word]]


def read_page(path):
    return Page(path.read_text())
