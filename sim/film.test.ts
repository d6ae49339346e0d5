import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { filmWorld } from './film'
import { isMarked } from './film_frames'
import { smallPlan } from './testing'
import { runWorld } from './world'

const plan = smallPlan()
const film = filmWorld(plan)

test('a world that is filmed has the history that it has without', () => {
  const { hash, events } = runWorld(plan)
  assert.is(film.result.hash, hash)
  assert.is(film.frames.length, events)
  assert.equal(
    film.frames.map(({ step }) => step),
    Array.from({ length: events }, (_, index) => index + 1),
  )
})

test('frames show what disks hold, and share what has not changed', () => {
  const [first, last] = [film.frames[0]!, film.frames.at(-1)!]
  assert.ok(last.source.sectors.some((value) => value !== 0))
  assert.equal(last.destination.sectors, last.source.sectors)
  assert.not.equal(first.destination.sectors, last.destination.sectors)
  const distinct = new Set(film.frames.map(({ destination }) => destination))
  assert.ok(distinct.size < film.frames.length / 2, `${distinct.size} of ${film.frames.length}`)
  const written = film.frames.flatMap(({ source }) => [...source.sectors]).filter((value) => value !== 0)
  for (const value of new Set(written)) assert.ok(film.writers.has(value), `writer ${value} has a name`)
})

test('the mirror’s maps are those of the moment', () => {
  const frames = film.frames.filter(({ mirror }) => mirror !== null)
  const dirtyOf = (frame: (typeof frames)[number]): number => {
    const { chunkCount, dirty } = frame.mirror!
    return Array.from({ length: chunkCount }, (_, chunk) => isMarked(dirty, chunk)).filter(Boolean).length
  }
  assert.ok(Math.max(...frames.map(dirtyOf)) > 0)
  assert.is(dirtyOf(frames.at(-1)!), 0)
})

test('each operation of the guest and each request is a span that ends', () => {
  const guest = film.spans.filter(({ lane }) => lane === 'guest')
  assert.equal(guest.map(({ id }) => id).sort(), plan.guest.map(({ id }) => id).sort())
  for (const span of film.spans) assert.ok(span.toStep >= span.fromStep && span.toStep < Infinity, JSON.stringify(span))
  for (const lane of ['mirror', 'source', 'destination'])
    assert.ok(
      film.spans.some((span) => span.lane === lane),
      lane,
    )
})

test.run()
