package linear_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/linear"
)

const limit = 10 * time.Second

func save(key string, step int, value int64) linear.Call {
	return linear.Call{Key: key, Save: true, Held: linear.Held{Step: step, Value: value}}
}

func TestASaveIsSeenByEveryLaterLoad(t *testing.T) {
	t.Parallel()
	h := linear.New()
	h.Add(1, save("run", 1, 10), h.Now(), linear.Held{}, true)
	h.Add(2, linear.Call{Key: "run"}, h.Now(), linear.Held{Step: 1, Value: 10}, true)
	h.Add(1, save("run", 1, 11), h.Now(), linear.Held{}, true)
	h.Add(2, linear.Call{Key: "run"}, h.Now(), linear.Held{Step: 1, Value: 11}, true)
	require.NoError(t, h.Check(limit))
	require.Equal(t, 4, h.Len())
	require.Equal(t, 1, h.Keys())
}

func TestAStaleLoadIsFoundAndDrawn(t *testing.T) {
	t.Parallel()
	h := linear.New()
	h.Add(1, save("a/run", 1, 10), h.Now(), linear.Held{}, true)
	h.Add(1, save("a/run", 2, 20), h.Now(), linear.Held{}, true)
	h.Add(2, linear.Call{Key: "a/run"}, h.Now(), linear.Held{Step: 1, Value: 10}, true)
	var wrong *linear.NotLinearizable
	require.ErrorAs(t, h.Check(limit), &wrong)
	require.Equal(t, "a/run", wrong.Key)
	require.False(t, wrong.Undecided)
	require.FileExists(t, wrong.Picture)
	require.NoError(t, os.RemoveAll(filepath.Dir(wrong.Picture)))
}

func TestALowerStepOfARunIsNotSeenAndThatOfARegisterIs(t *testing.T) {
	t.Parallel()
	for register, seen := range map[bool]linear.Held{false: {Step: 5, Value: 50}, true: {Step: 3, Value: 30}} {
		h := linear.New()
		for _, c := range []linear.Call{save("key", 5, 50), save("key", 3, 30)} {
			c.Register = register
			h.Add(1, c, h.Now(), linear.Held{}, true)
		}
		h.Add(1, linear.Call{Key: "key", Register: register}, h.Now(), seen, true)
		require.NoError(t, h.Check(limit))
	}
}

func TestASaveOfUnknownOutcomeMayBeSeenFromThenOnOrNever(t *testing.T) {
	t.Parallel()
	none, one := linear.Held{}, linear.Held{Step: 1, Value: 10}
	for _, c := range []struct {
		seen []linear.Held
		ok   bool
	}{
		{[]linear.Held{none, none}, true},
		{[]linear.Held{none, one, one}, true},
		{[]linear.Held{one, none}, false},
	} {
		h := linear.New()
		h.Add(1, save("run", 1, 10), h.Now(), linear.Held{}, false)
		for _, out := range c.seen {
			h.Add(2, linear.Call{Key: "run"}, h.Now(), out, true)
		}
		err := h.Check(limit)
		require.Equal(t, c.ok, err == nil, "%v", c.seen)
		if wrong, isWrong := err.(*linear.NotLinearizable); isWrong { //nolint:errorlint // a picture to remove.
			require.NoError(t, os.RemoveAll(filepath.Dir(wrong.Picture)))
		}
	}
}
