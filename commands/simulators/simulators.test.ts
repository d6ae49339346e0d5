import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { ChunkState, chunkCountOf, chunkState } from '../../reports/viewer/story'
import { stripsOf } from '../../reports/viewer/strip'
import type { Film } from '../../sim/film_frames'
import { subjectOf } from '../subject'
import { filmOf, simulatorOf } from '.'

const WORLDS = 12
const KINDS = { jobs: 'chain', nbd: 'pair', monitor: 'pair', image: 'file' } as const

/** Films of worlds that are well. */
function filmsOf(profile: keyof typeof KINDS): Film[] {
  const subject = subjectOf(profile)
  return Array.from({ length: WORLDS }, (_, index) => {
    const plan = subject.planOf(`films.${index}`)
    assert.is(simulatorOf(plan), profile)
    const film = filmOf(plan, undefined)
    const { hash, events, failure } = subject.run(plan, 'last')
    assert.equal(
      [film.result.hash, film.result.events, film.result.failure],
      [hash, events, failure],
      `${profile} ${index}: it goes as it does when nobody films`,
    )
    return film
  })
}

for (const profile of Object.keys(KINDS) as Array<keyof typeof KINDS>) {
  test(`worlds of ${profile} can be filmed, and are not changed by it`, () => {
    for (const film of filmsOf(profile)) {
      assert.is(film.kind, KINDS[profile])
      assert.ok(film.frames.length > 0 && film.lines.length > 0)
      const steps = film.frames.map(({ step }) => step)
      assert.equal(
        steps,
        [...new Set(steps)].sort((one, other) => one - other),
      )
      for (const span of film.spans) {
        assert.ok(film.lanes.includes(span.lane), span.lane)
        assert.ok(span.toStep >= span.fromStep, JSON.stringify(span))
      }
      for (const strip of stripsOf(film)) {
        const frame = film.frames.at(-1)!
        for (let cell = 0; cell < strip.cells(frame); cell++) assert.type(strip.at(frame, cell), 'number')
      }
    }
  })
}

test('in sound worlds of jobs the chain shows at any moment what the guest must find', () => {
  const changed = new Set<string>()
  for (const film of filmsOf('jobs')) {
    for (const frame of film.frames) {
      for (let chunk = 0; chunk < chunkCountOf(film); chunk++)
        assert.is.not(chunkState(film, frame, chunk, film.chunkBytes), ChunkState.Wrong, `event ${frame.step}, chunk ${chunk}`)
    }
    film.layers.forEach(({ name }, index) => {
      if (film.frames[0]!.layers[index] !== film.frames.at(-1)!.layers[index]) changed.add(name)
    })
  }
  assert.equal([...changed].sort(), ['base', 'image', 'overlay', 'target'])
})

test('a damaged image shows where it was damaged', () => {
  const damaged = filmsOf('image').filter(({ plan }) => plan.damage!.length > 0)
  const seen = damaged.filter(({ frames }) => frames.some(({ source, destination }) => source.sectors !== destination.sectors))
  assert.ok(seen.length > damaged.length / 2, `${seen.length} of ${damaged.length}`)
})

test('users, links and guests have their lines', () => {
  const lanes = (film: Film): Set<string> => new Set(film.spans.map(({ lane }) => lane))
  assert.ok(filmsOf('monitor').every((film) => lanes(film).has('users')))
  assert.ok(filmsOf('nbd').some((film) => lanes(film).has('link') && lanes(film).has('mirror')))
})

test.run()
