// Who may import whom. Checked by `npm run lint` and by scripts/boundaries.test.ts, which also plants violations.
'use strict'

const only = (from, allowed, comment) => ({
  name: `${from.replace(/[^a-z]+/g, '-').replace(/^-|-$/g, '')}-boundary`,
  comment,
  severity: 'error',
  from: { path: from, pathNot: '[.]test[.]ts$|/testing[.]ts$' },
  to: { pathNot: allowed },
})
const npm = (...names) => names.map((name) => `^node_modules/${name}/`)

module.exports = {
  forbidden: [
    only('^impl/co/', ['^impl/co/'], 'the coroutine kernel stands on nothing'),
    only(
      '^impl/block/',
      ['^impl/(block|co)/', ...npm('fflate', 'fzstd')],
      'the block layer knows neither jobs nor devices nor the machine',
    ),
    only('^impl/jobs/', ['^impl/(jobs|block|co)/'], 'jobs see the graph, never the machine'),
    only('^impl/virtio/', ['^impl/(virtio|block|co)/'], 'a device sees guest memory and a backend'),
    only('^impl/machine/', ['^impl/(machine|virtio|block|co)/'], 'a board sees its devices and a backend'),
    only('^impl/nbd/', ['^impl/(nbd|block|co)/'], 'NBD sees byte streams and the graph, never sockets'),
    only('^impl/json/', ['^impl/(json|co)/'], 'text and values'),
    only('^impl/qapi/', ['^impl/(qapi|json|co)/', '^impl/block/error[.]ts$'], 'declarations, and values checked against them'),
    only(
      '^impl/blockdev/',
      ['^impl/(blockdev|qapi|json|nbd|jobs|block|co)/'],
      'from descriptions to nodes; files come in as an interface',
    ),
    only('^impl/io/', ['^impl/(io|block|co)/'], 'commands over a backend; files and signals come in as an interface'),
    only(
      '^impl/monitor/',
      ['^impl/(monitor|qapi|json|io|blockdev|nbd|jobs|virtio|block|co)/'],
      'a monitor sees text and the graph, never sockets',
    ),
    only(
      '^impl/host/',
      [
        '^impl/(host|block|co)/',
        '^(node:)?(crypto|fs|os|path|tty|events|net|tls|stream|worker_threads|zlib)$',
        ...npm('koffi', '@bokuweb/zstd-wasm'),
      ],
      'the only room that touches the machine',
    ),
    only(
      '^impl/programs/',
      ['^impl/', '^(node:)?[a-z_/]+$', ...npm('commander', 'picocolors')],
      'command lines are made of impl alone',
    ),
    only('^model/', ['^model/'], 'the model shares no code with what it judges'),
    only(
      '^sim/',
      ['^sim/', '^model/', '^impl/(co|block|jobs|virtio|nbd|json|qapi|blockdev|monitor)/', ...npm('seedrandom')],
      'worlds run the real code, but never on the real machine',
    ),
    only(
      '^properties/',
      [
        '^properties/',
        '^sim/',
        '^model/',
        '^reports/format[.]ts$',
        ...npm('fast-check', 'seedrandom', 'pure-rand'),
        '^(node:)?worker_threads$',
      ],
      'checkers share no code with impl; the bridge writes reports',
    ),
    only('^scenarios/', ['^scenarios/', '^sim/(plan|verdict)[.]ts$'], 'scenarios are plain data'),
    only(
      '^reports/',
      [
        '^reports/',
        '^sim/(plan|verdict|plan_check|film_frames|faults/index)[.]ts$',
        '^(node:)?(fs|path|crypto|buffer)$',
        ...npm('picocolors', 'uplot', 'valibot'),
      ],
      'reports see plans, traces and verdicts as plain data',
    ),
    only(
      '^library/',
      [
        '^(library|properties|sim|model)/',
        '^impl/co/index[.]ts$',
        '^scenarios/build[.]ts$',
        '^reports/(format|text|verdict)[.]ts$',
        '^commands/subject[.]ts$',
        ...npm('fast-check'),
      ],
      'what other programs import is made of what commands are made of',
    ),
    {
      name: 'no-cycles',
      comment: 'modules that need each other are one module; type-only cycles between a class and its edge are fine',
      severity: 'error',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    { name: 'resolvable', severity: 'error', from: {}, to: { couldNotResolve: true } },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['require', 'node', 'types'] },
  },
}
