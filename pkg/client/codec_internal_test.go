package client

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWhatHasNoTypeLoadsAsEncodingJSONMakesItButForIntegersThatWouldBeRounded(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		stored string
		want   any
	}{
		"nothing":                         {`null`, nil},
		"a text that looks like a number": {`"18446744073709551615"`, "18446744073709551615"},
		"a small integer":                 {`-7`, -7.0},
		"the last exact integer":          {`9007199254740992`, 9007199254740992.0},
		"the first that is not":           {`9007199254740993`, json.Number("9007199254740993")},
		"the largest order key":           {`18446744073709551615`, json.Number("18446744073709551615")},
		"the smallest int64":              {`-9223372036854775808`, json.Number("-9223372036854775808")},
		"a fraction":                      {`0.1`, 0.1},
		"what no float64 holds":           {`1e999`, json.Number("1e999")},
		"deep inside": {
			`[{"order_key":12345678901234567890,"step_id":3,"tags":[1,"a",null,true]}]`,
			[]any{map[string]any{"order_key": json.Number("12345678901234567890"), "step_id": 3.0, "tags": []any{1.0, "a", nil, true}}},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := decodeAny(JSON{}, Binding{Kind: KindFrontier}, []byte(tt.stored))
			require.NoError(t, err)
			require.Equal(t, tt.want, got)
			again, err := json.Marshal(got)
			require.NoError(t, err)
			require.Equal(t, tt.stored, string(again), "it is saved again as it was")
		})
	}
}

func TestWhatHasNoTypeButIsNoJSONIsRefused(t *testing.T) {
	t.Parallel()
	_, err := decodeAny(JSON{}, Binding{Kind: KindFrontier, ID: "run", Step: 3}, []byte(`[1,`))
	require.ErrorIs(t, err, ErrInvalidState)
	require.ErrorContains(t, err, "frontier 3")
}
