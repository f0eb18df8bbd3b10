package batcher_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest"
	"go.uber.org/zap/zaptest/observer"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/wire"
)

// guarded is a batcher with a circuit; a second one shares it if it is given the first's.
func guarded(t *testing.T, cfg batcher.CircuitConfig, shared ...*bundle) (*bundle, *batcher.Circuit) {
	t.Helper()
	cfg = cfg.WithDefaults()
	require.NoError(t, cfg.Validate())
	var c *batcher.Circuit
	b := setup(t, batcher.Config{}, func(d *batcher.Deps) {
		d.Circuit = batcher.NewCircuit(cfg, d.Metrics, zaptest.NewLogger(t))
		for _, other := range shared {
			d.Circuit = other.circuit
		}
		c = d.Circuit
	})
	b.circuit = c
	return b, c
}

func poison(from, to uint64) (all []wire.Event) {
	for seq := from; seq <= to; seq++ {
		all = append(all, poisoned(seq))
	}
	return all
}

// wrongSchema refuses by name whatever the broken database of a test would refuse.
func wrongSchema(broken *bool) func(*wire.Event) *wire.Poison {
	return func(*wire.Event) *wire.Poison {
		if *broken {
			return &wire.Poison{Code: wire.CodeDatabase, Reason: "data too long", ErrorNumber: 1406}
		}
		return nil
	}
}

// I7, the other way round: when nearly everything is poison no letters are written, and the partition says what it waits for.
func TestI7WhenNearlyEverythingIsPoisonNoLettersAreWritten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, c := guarded(t, batcher.CircuitConfig{})
		b.add(t, append(steps(1, 10), poison(11, 1000)...)...)
		out := b.run(t.Context())
		synctest.Wait()
		require.Equal(t, sequences(1, 10), b.store.applied, "what stands before the poison is committed")
		require.Empty(t, b.graves.letters)
		require.Equal(t, batcher.Waiting, b.Phase().Name)
		require.Equal(t, batcher.Operator, b.Phase().Class, "the replica is not ready")
		require.ErrorContains(t, b.Phase().Err, "nearly every event is poison")
		require.ErrorContains(t, b.Phase().Err, "not_json: body is not valid JSON")
		require.ErrorContains(t, b.Phase().Err, "is this persistd older than its clients")
		require.False(t, c.Open().IsZero())
		require.EqualValues(t, 1, b.metric(t, "persistd_poison_circuit_open"))
		require.EqualValues(t, 1, b.metric(t, "persistd_poison_circuit_trips_total"))

		<-time.After(10 * time.Minute) // virtual
		synctest.Wait()
		require.InDelta(t, 20, len(b.graves.letters), 2, "a letter each half minute, no more")
		b.add(t, steps(1001, 1200)...)
		b.Close()
		require.NoError(t, <-out, "there are good ones behind the poison: it goes on by itself")
		require.Len(t, b.graves.letters, 990)
		require.Equal(t, append(sequences(1, 10), sequences(1001, 1200)...), b.store.applied)
		require.True(t, c.Open().IsZero())
		require.Zero(t, b.metric(t, "persistd_poison_circuit_open"))
	})
}

// A schema that refuses everything is mended: what waited is taken as it was, and nothing was made poison.
func TestI7WhatWasRefusedIsTakenOnceTheDatabaseIsMended(t *testing.T) {
	t.Parallel()
	for name, byName := range map[string]bool{"the store names them": true, "it has to be halved": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				broken := true
				b, c := guarded(t, batcher.CircuitConfig{Probe: time.Hour})
				if byName {
					b.store.stale = wrongSchema(&broken)
				} else {
					b.store.refuse = func(*wire.Event) bool { return broken }
				}
				b.add(t, steps(1, 1000)...)
				out := b.run(t.Context())
				synctest.Wait()
				letters := len(b.graves.letters)
				require.Less(t, letters, 100)
				require.ErrorContains(t, b.Phase().Err, "data too long")
				<-time.After(10 * time.Minute)
				synctest.Wait()
				require.Len(t, b.graves.letters, letters)
				b.store.mu.Lock()
				broken = false
				b.store.mu.Unlock()
				<-time.After(10 * time.Second) // the longest pause, and some
				synctest.Wait()
				require.Len(t, b.store.applied, 1000-letters)
				require.True(t, c.Open().IsZero(), "that it is taken is the proof")
				b.Close()
				require.NoError(t, <-out)
				require.Len(t, b.graves.letters, letters)
			})
		})
	}
}

// A probe lets one event out of the way: what is behind it is seen at last.
func TestI7ProbesGetPastPoisonThatNoTryingMends(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, _ := guarded(t, batcher.CircuitConfig{Least: 3, Probe: time.Minute})
		b.store.stale = func(ev *wire.Event) *wire.Poison {
			if ev.Message.Sequence <= 5 {
				return &wire.Poison{Code: wire.CodeDatabase, Reason: "data too long", ErrorNumber: 1406}
			}
			return nil
		}
		b.add(t, steps(1, 7)...) // five of seven are less than nine of ten
		b.Close()
		require.NoError(t, <-b.run(t.Context()))
		require.Len(t, b.graves.letters, 5)
		require.Zero(t, time.Since(epoch))

		b, _ = guarded(t, batcher.CircuitConfig{Least: 3, Probe: time.Minute})
		b.store.stale = func(ev *wire.Event) *wire.Poison {
			if ev.Message.Sequence <= 5 {
				return &wire.Poison{Code: wire.CodeDatabase, Reason: "data too long", ErrorNumber: 1406}
			}
			return nil
		}
		b.add(t, steps(1, 5)...)
		out := b.run(t.Context())
		<-time.After(6 * time.Minute)
		synctest.Wait()
		require.Len(t, b.graves.letters, 5)
		b.add(t, step(6, 100))
		b.Close()
		require.NoError(t, <-out)
		require.Equal(t, []uint64{6}, b.store.applied)
	})
}

func TestFewBadEventsDoNotOpenTheCircuit(t *testing.T) {
	t.Parallel()
	stale := func(n uint64) (all []wire.Event) {
		for seq := uint64(1); seq <= n; seq++ {
			ev := poisoned(seq)
			ev.Poison = &wire.Poison{Code: wire.CodeAttempt, Reason: "attempt 1 is over"}
			all = append(all, ev)
		}
		return all
	}
	parts := poison(1, 1000)
	for i := range parts {
		parts[i].Part = wire.Part{Transaction: "large", No: i + 1, Of: 1000}
	}
	var mixed []wire.Event
	for seq := uint64(1); seq <= 4000; seq++ {
		if seq%10 == 0 || seq%7 == 0 {
			mixed = append(mixed, step(seq, 10))
		} else {
			mixed = append(mixed, poisoned(seq))
		}
	}
	for name, events := range map[string][]wire.Event{
		"an idle log, with three bad events in a row":   poison(1, 3),
		"99 bad events and nothing else":                poison(1, 99),
		"a worker that writes on after it was replaced": stale(1000),
		"the parts of a transaction that is too large":  parts,
		"three of four, all the while":                  mixed,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b, c := guarded(t, batcher.CircuitConfig{})
				b.add(t, events...)
				b.Close()
				require.NoError(t, <-b.run(t.Context()))
				require.Zero(t, time.Since(epoch), "nothing waited")
				require.True(t, c.Open().IsZero())
				require.Zero(t, b.metric(t, "persistd_poison_circuit_trips_total"))
			})
		})
	}
}

// What befalls a thousand events is told a few times: that the circuit opened, with how many were poison, that a letter was written
// now and then, and that it closed.
func TestTheCircuitIsToldOfWhenItOpensAndWhenItCloses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		core, lines := observer.New(zapcore.InfoLevel)
		b := setup(t, batcher.Config{}, func(d *batcher.Deps) {
			d.Log = zap.New(core)
			d.Circuit = batcher.NewCircuit(batcher.CircuitConfig{}.WithDefaults(), d.Metrics, d.Log)
		})
		b.add(t, append(steps(1, 10), poison(11, 1000)...)...)
		out := b.run(t.Context())
		<-time.After(10 * time.Minute) // virtual
		synctest.Wait()
		b.add(t, steps(1001, 1200)...)
		b.Close()
		require.NoError(t, <-out)
		opened := lines.FilterMessageSnippet("nearly every event is poison").All()
		require.Len(t, opened, 1)
		require.EqualValues(t, 990, opened[0].ContextMap()["poison"])
		closed := lines.FilterMessageSnippet("poison is kept as dead letters again").All()
		require.Len(t, closed, 1)
		letters := int(closed[0].ContextMap()["letters_meanwhile"].(int64))
		require.Greater(t, letters, 10, "one each half minute")
		require.Empty(t, lines.FilterMessageSnippet("attempt failed").All(), "that it waits the circuit has said")
		kept := lines.FilterMessageSnippet("kept as dead letters").FilterLevelExact(zapcore.WarnLevel).All()
		require.Len(t, kept, letters+1, "one by one while it is open, and then all at once")
		last := kept[letters].ContextMap()
		require.EqualValues(t, 990-letters, last["letters"])
		require.Equal(t, map[string]int{wire.CodeNotJSON: 990 - letters}, last["codes"])
		require.EqualValues(t, 1000, last["last_sequence"])
	})
}

func TestTheCircuitCanBeTurnedOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, _ := guarded(t, batcher.CircuitConfig{Off: true})
		b.add(t, poison(1, 1000)...)
		b.Close()
		require.NoError(t, <-b.run(t.Context()))
		require.Len(t, b.graves.letters, 1000)
	})
}

// What is good goes on while the circuit is open, in this partition and in others; and enough of it closes the circuit.
func TestAnOpenCircuitHoldsOnlyPoison(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bad, c := guarded(t, batcher.CircuitConfig{Window: 1000, Probe: time.Hour})
		other, _ := guarded(t, batcher.CircuitConfig{}, bad)
		badOut, otherOut := bad.run(t.Context()), other.run(t.Context())
		bad.add(t, poison(1, 200)...)
		synctest.Wait()
		require.False(t, c.Open().IsZero())
		other.add(t, steps(1, 100)...)
		synctest.Wait()
		require.Len(t, other.store.applied, 100)
		require.False(t, c.Open().IsZero(), "two of three are poison still")
		other.add(t, steps(101, 250)...)
		synctest.Wait()
		require.True(t, c.Open().IsZero(), "most are good")
		<-time.After(10 * time.Second)
		synctest.Wait()
		require.Len(t, bad.graves.letters, 200, "the share is of the replica: what is bad are only some events")
		bad.Close()
		other.Close()
		require.NoError(t, errors.Join(<-badOut, <-otherOut))
	})
}

// A burst of poison in one partition does not hide what the others commit: no single batch decides.
func TestOneBatchOfPoisonAmongGoodOnesDoesNotOpenTheCircuit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bad, c := guarded(t, batcher.CircuitConfig{})
		other, _ := guarded(t, batcher.CircuitConfig{}, bad)
		otherOut := other.run(t.Context())
		other.add(t, steps(1, 4000)...)
		other.Close()
		require.NoError(t, <-otherOut)
		bad.add(t, poison(1, 1000)...)
		bad.Close()
		require.NoError(t, <-bad.run(t.Context()))
		require.True(t, c.Open().IsZero())
		require.Len(t, bad.graves.letters, 1000)
	})
}

func TestCircuitConfigSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	require.NoError(t, batcher.CircuitConfig{}.WithDefaults().Validate())
	err := batcher.CircuitConfig{Window: -1, Least: -1, Share: 2, Probe: -1}.Validate()
	for _, field := range []string{"Window", "Least", "Share", "Probe"} {
		require.ErrorContains(t, err, "circuit config "+field)
	}
}
