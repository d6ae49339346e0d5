/**
 * What differs on purpose between Debian's programs (7.2) and ours (as QEMU 11), and how both are brought to one form before
 * they are compared. Each has its reason in docs/programs-differences.md under the same name.
 */
export interface Difference {
  name: string
  /** Both sides go through it. */
  apply(text: string): string
}

const replaced = (name: string, ...pairs: ReadonlyArray<readonly [RegExp, string]>): Difference => ({
  name,
  apply: (text) => pairs.reduce((before, [pattern, by]) => before.replace(pattern, by), text),
})

/** A list in pretty JSON that only one side has. */
function dropMember(text: string, name: string): string {
  const kept: string[] = []
  let closing: string | null = null
  for (const line of text.split('\n')) {
    if (closing === null && line.trimStart() === `"${name}": [`) closing = `${/^ */.exec(line)![0]}]`
    else if (closing === null) kept.push(line)
    else if (line === closing || line === `${closing},`) closing = null
  }
  return kept.join('\n')
}

/** The block of lines about nodes below an image. */
function dropChildNodes(text: string): string {
  const kept: string[] = []
  let isInside = false
  for (const line of text.split('\n')) {
    if (line.startsWith("Child node '")) isInside = true
    else if (!line.startsWith('    ')) isInside = false
    if (!isInside) kept.push(line)
  }
  return kept.join('\n')
}

export const DIFFERENCES: readonly Difference[] = [
  replaced(
    'time',
    [/; [0-9:.]+( sec)? \([^)]*\)/g, '; T'],
    [/^(\d+,\d+),[0-9:.,inf]+$/gm, '$1,T'],
    [/in [0-9.]+ seconds/g, 'in T seconds'],
  ),
  replaced('date', [/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d/g, 'DATE'], [/("date-n?sec"): \d+/g, '$1: N']),
  replaced('progress', [/( {4}\(\d+\.\d\d\/100%\)\r)+/g, 'PROGRESS']),
  replaced('help', [/Try '[^']*--help' for more information/g, 'Try help'], [/\.\n?Try help/g, '.\nTry help']),
  replaced('options', [
    /^(qemu-img)[^\n]*(unrecognized option|invalid option|missing argument for option|requires an argument)[^\n]*$/gm,
    '$1: bad option',
  ]),
  replaced('output', [
    /--output must be used with human or json as argument\.|--output expects 'human' or 'json', not '[^']*'\nTry help/g,
    'OUTPUT',
  ]),
  replaced('compressed', [/, "compressed": (true|false)/g, '']),
  { name: 'children', apply: (text) => dropChildNodes(dropMember(text, 'children')) },
  replaced('snapshots', [/VM SIZE/g, 'VM_SIZE'], [/VM CLOCK/g, 'VM_CLOCK'], [/\b0{0,2}(\d\d:\d\d:\d\d\.\d{3})/g, '$1'], [
    /^(ID|\d+) .*$/gm,
    (whole: string) => whole.replace(/ +/g, ' '),
  ] as unknown as readonly [RegExp, string]),
  replaced('registered', [/\[-abCqrv\]/g, '[-abCqv]'], [/\[-Cqrv\]/g, '[-Cqv]'], [/\[-Ciqrv\]/g, '[-Ciqv]']),
  replaced('registered-write', [/\[-bcCfnqruz\]/g, '[-bcCfnquz]'], [/\[-Cfqr\]/g, '[-Cfq]'], [/\[-Cfiqruz\]/g, '[-Cfiquz]']),
  replaced('disk-size', [/disk size: .*$/gm, 'disk size: N'], [/"actual-size": \d+/g, '"actual-size": N']),
  replaced('identity', [/"(parent-)?cid": \d+/g, '"$1cid": N'], [/(parent )?cid: \d+/g, '$1cid: N']),
  replaced('node-names', [/#block\d+/g, '#block']),
  replaced('encryption', [/(uuid"?: ).*$/gm, '$1U'], [/(iters"?: )\d+/g, '$1N'], [/^ *"?detached.header"?: false,?\n/gm, '']),
  replaced('file-options', [/^ +(extent_size_hint|nocow)=[^\n]*\n/gm, '']),
  replaced(
    'end-offset',
    [/Image end offset: \d+/g, 'Image end offset: N'],
    [/"image-end-offset": \d+/g, '"image-end-offset": N'],
  ),
  replaced('usage', [/^Usage: qemu-io[\s\S]*?(?=\n*$)/g, 'USAGE']),
]

/** The form in which two outputs are compared. */
export function comparable(text: string): string {
  return DIFFERENCES.reduce((before, difference) => difference.apply(before), text)
    .split('\n')
    .map((line) => line.trimEnd())
    .join('\n')
}
