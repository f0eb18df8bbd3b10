package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/persistd/persistd/pkg/client"
)

// Many goroutines use one client for everything at once, while its connection is cut again and again. Whoever was told that a write is
// there finds it, and the client leaves no goroutine behind.
func TestOneClientDoesEverythingAtOnceThoughItsConnectionIsCut(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	s.serveHere(hooks{})
	nats := newCutter(t, s.url)
	st, err := client.Open[json.RawMessage](t.Context(), nats.url(), client.WithMaxInFlight(64, 8<<20), client.WithTimeout(5*time.Minute))
	require.NoError(t, err)
	t.Cleanup(func() { _ = st.Close() })
	for range 10 {
		nats.cutAfter(300_000)
	}
	var all errgroup.Group
	for worker := range 200 {
		all.Go(func() error {
			return (&mixed{st: st, run: fmt.Sprintf("run-%03d", worker)}).work(t.Context(), uint64(worker))
		})
	}
	require.NoError(t, all.Wait())
	require.NoError(t, st.Flush(t.Context()))
	require.Less(t, nats.planned(), 8, "cuts that did not happen")
	require.NoError(t, st.Close())
	s.log()
}

// mixed is one goroutine and what it knows of its run.
type mixed struct {
	st    client.Store[json.RawMessage]
	run   string
	step  int // the last one that was saved
	no    int // of named checkpoints
	named bool
}

func (m *mixed) work(ctx context.Context, seed uint64) error {
	draw := rand.New(rand.NewPCG(seed, 77))
	for range 8 {
		if err := m.once(ctx, draw); err != nil {
			return fmt.Errorf("%s: %w", m.run, err)
		}
	}
	return nil
}

func (m *mixed) state(draw *rand.Rand) json.RawMessage { return noise(200 + draw.IntN(3000)) }

func (m *mixed) once(ctx context.Context, draw *rand.Rand) error {
	d := client.ContextWithDurability(ctx, []client.Durability{client.Async, client.Logged, client.Committed}[draw.IntN(3)])
	switch draw.IntN(8) {
	case 0, 1:
		m.step++
		return m.st.SaveStep(d, m.run, m.step, "node", m.state(draw))
	case 2:
		m.no++
		m.named = true
		return m.st.SaveCheckpoint(d, m.run, m.state(draw), m.no)
	case 3:
		m.step, m.no = m.step+2, m.no+1
		m.named = true
		return m.st.WithTransaction(d, func(tx client.Tx[json.RawMessage]) error {
			return errors.Join(tx.SaveStep(m.run, m.step-1, "a", m.state(draw)), tx.SaveStep(m.run, m.step, "b", m.state(draw)),
				tx.SaveCheckpoint(m.run, m.state(draw), m.no), tx.SaveEvents(client.Event{Msg: "m"}))
		})
	case 4:
		key := fmt.Sprintf("%s/%d", m.run, draw.IntN(5))
		cp := client.CheckpointV2[json.RawMessage]{RunID: m.run, StepID: 1, State: json.RawMessage(`"` + key + `"`), IdempotencyKey: key}
		return m.st.SaveCheckpointV2(ctx, cp)
	case 5:
		size := 1000
		if draw.IntN(15) == 0 { // it takes parts
			size = 600_000
		}
		steps := make([]client.Step[json.RawMessage], 3)
		for i := range steps {
			m.step++
			steps[i] = client.Step[json.RawMessage]{Step: m.step, State: noise(size)}
		}
		return m.st.SaveStepBatch(d, m.run, steps)
	case 6:
		if draw.IntN(3) == 0 {
			_, err := m.st.BeginAttempt(ctx, m.run)
			return err
		}
		fallthrough
	default:
		return m.look(ctx)
	}
}

// look requires what was saved last to be what is read.
func (m *mixed) look(ctx context.Context) error {
	_, step, err := m.st.LoadLatest(ctx, m.run)
	if errors.Is(err, client.ErrNotFound) && m.step == 0 {
		err = nil
	}
	if err != nil {
		return err
	}
	if step != m.step {
		return fmt.Errorf("latest step is %d, not %d", step, m.step)
	}
	if m.named {
		_, no, err := m.st.LoadCheckpoint(ctx, m.run)
		if err != nil || no != m.no {
			return fmt.Errorf("checkpoint is %d, not %d: %w", no, m.no, err)
		}
	}
	return nil
}
