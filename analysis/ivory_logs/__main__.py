"""python3 -m ivory_logs report LOG ... -o report.html"""
import argparse
import sys


def main(arguments=None):
    parser = argparse.ArgumentParser(prog='ivory-logs', description='Looks at logs of Ivory.')
    verbs = parser.add_subparsers(dest='verb', required=True)
    report = verbs.add_parser('report', help='write one HTML page with tables and pictures')
    report.add_argument('logs', nargs='+', metavar='LOG')
    report.add_argument('-o', '--output', default='report.html', metavar='FILE.html')
    report.add_argument('--title', default='', help='heading of the page; default: the scenario\'s name')
    report.add_argument('--baseline', metavar='ARM', help='differences are taken to this arm; default: the first')
    options = parser.parse_args(arguments)
    import matplotlib
    matplotlib.use('Agg')  # writes files; needs no screen
    from .report import write_report
    try:
        write_report(options.logs, options.output, options.title, options.baseline)
    except (ValueError, OSError) as error:
        print(f'ivory-logs: {error}', file=sys.stderr)
        return 2
    print(f'wrote {options.output}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
