/** Commands of the human monitor for block jobs and exports. */
import { BlockError } from '../../block'
import { type JsonObject, jsonObject } from '../../json'
import { device, flag, type HumanCommand, type HumanValues, optional, word } from './command'

const text = (values: HumanValues, name: string): string => String(values.get(name) ?? '')
const has = (values: HumanValues, name: string): boolean => values.get(name) === true

function verb(name: string, usage: string, summary: string, target: string, args: HumanCommand['arguments'] = []): HumanCommand {
  return {
    names: [name],
    arguments: [...args.filter(({ kind }) => kind === 'flag'), device(), ...args.filter(({ kind }) => kind !== 'flag')],
    usage,
    summary,
    *run(environment, values) {
      const given: JsonObject = new Map()
      for (const [key, value] of values) given.set(key, value)
      yield* environment.invoke(target, given)
    },
  }
}

/** `HOST:PORT` or `unix:PATH`. Throws BlockError. */
function serverAddress(uri: string): JsonObject {
  if (uri.startsWith('unix:')) return jsonObject({ type: 'unix', data: jsonObject({ path: uri.slice('unix:'.length) }) })
  const match = /^(?:tcp:)?(.*):(\d+)$/.exec(uri)
  if (match === null) throw new BlockError(`error parsing address '${uri}'`)
  return jsonObject({ type: 'inet', data: jsonObject({ host: match[1]!, port: match[2]! }) })
}

export const JOB_HUMAN_COMMANDS: readonly HumanCommand[] = [
  {
    names: ['block_stream'],
    arguments: [device(), optional({ name: 'speed', kind: 'size' }), optional(word('base'))],
    usage: 'device [speed [base]]',
    summary: 'copy data from a backing file into a block device',
    *run(environment, values) {
      const args = {
        'job-id': text(values, 'device'),
        device: text(values, 'device'),
        speed: values.get('speed') as number | undefined,
        base: values.get('base') as string | undefined,
        'on-error': 'report',
      }
      yield* environment.invoke('block-stream', jsonObject(args))
    },
  },
  verb('block_job_set_speed', 'device speed', 'set maximum speed for a background block operation', 'block-job-set-speed', [
    { name: 'speed', kind: 'size' },
  ]),
  verb(
    'block_job_cancel',
    '[-f] device',
    'stop an active background block operation (use -f if you want to abort the operation immediately instead of keep running until data is in sync)',
    'block-job-cancel',
    [flag('f', 'force')],
  ),
  verb('block_job_complete', 'device', 'stop an active background block operation', 'block-job-complete'),
  verb('block_job_pause', 'device', 'pause an active background block operation', 'block-job-pause'),
  verb('block_job_resume', 'device', 'resume a paused background block operation', 'block-job-resume'),
  {
    names: ['drive_mirror'],
    arguments: [flag('n', 'reuse'), flag('f', 'full'), word('device'), word('target'), optional(word('format'))],
    usage: '[-n] [-f] device target [format]',
    summary: 'initiates live storage migration for a device',
    *run(environment, values) {
      yield* environment.invoke('drive-mirror', copyArguments(values))
    },
  },
  {
    names: ['drive_backup'],
    arguments: [
      flag('n', 'reuse'),
      flag('f', 'full'),
      flag('c', 'compress'),
      word('device'),
      word('target'),
      optional(word('format')),
    ],
    usage: '[-n] [-f] [-c] device target [format]',
    summary: 'initiates a point-in-time copy for a device',
    *run(environment, values) {
      const args = copyArguments(values)
      if (has(values, 'compress')) args.set('compress', true)
      yield* environment.invoke('drive-backup', args)
    },
  },
  {
    names: ['nbd_server_start'],
    arguments: [flag('a', 'all'), flag('w', 'writable'), word('uri')],
    usage: 'nbd_server_start [-a] [-w] host:port',
    summary: 'serve block devices on the given host and port',
    *run(environment, values) {
      if (has(values, 'writable') && !has(values, 'all')) throw new BlockError('-w only valid together with -a')
      const addr = serverAddress(text(values, 'uri'))
      yield* environment.invoke('nbd-server-start', jsonObject({ addr }))
      if (!has(values, 'all')) return
      for (const { state, id } of environment.machine?.drives.values() ?? []) {
        if (state.backend.root === null) continue
        yield* environment.invoke('nbd-server-add', jsonObject({ device: id, writable: has(values, 'writable') }))
      }
    },
  },
  {
    names: ['nbd_server_add'],
    arguments: [flag('w', 'writable'), device(), optional(word('name'))],
    usage: 'nbd_server_add [-w] device [name]',
    summary: 'export a block device via NBD',
    *run(environment, values) {
      const args = {
        device: text(values, 'device'),
        name: values.get('name') as string | undefined,
        writable: has(values, 'writable'),
      }
      yield* environment.invoke('nbd-server-add', jsonObject(args))
    },
  },
  {
    names: ['nbd_server_remove'],
    arguments: [flag('f', 'force'), word('name')],
    usage: 'nbd_server_remove [-f] name',
    summary: 'remove an export previously exposed via NBD',
    *run(environment, values) {
      const mode = has(values, 'force') ? 'hard' : 'safe'
      yield* environment.invoke('nbd-server-remove', jsonObject({ name: text(values, 'name'), mode }))
    },
  },
  {
    names: ['nbd_server_stop'],
    arguments: [],
    usage: 'nbd_server_stop',
    summary: 'stop serving block devices using the NBD protocol',
    *run(environment) {
      yield* environment.invoke('nbd-server-stop', new Map())
    },
  },
]

function copyArguments(values: HumanValues): JsonObject {
  const args = {
    device: text(values, 'device'),
    target: text(values, 'target'),
    format: values.get('format') as string | undefined,
    sync: has(values, 'full') ? 'full' : 'top',
    mode: has(values, 'reuse') ? 'existing' : 'absolute-paths',
  }
  return jsonObject(args)
}
