package wire

import (
	"strings"
	"testing"
)

// Decoding is what every event costs the daemon before the database does.
func BenchmarkDecode(b *testing.B) {
	const op = `{"op":"step","step":1,"node_id":"start","state":{"n":1}}`
	for _, bench := range []struct{ name, body string }{
		{"small", `{"run_id":"run-001","step":1,"node_id":"start","state":{"n":1}}`},
		{"10KB", `{"run_id":"run-001","step":1,"node_id":"start","state":{"a":[` + strings.Repeat(`"some text of a message",`, 400) + `1]}}`},
		{"100ops", `{"run_id":"run-001","ops":[` + strings.Repeat(op+",", 99) + op + `]}`},
		{"key", `{"run_id":"run-001","ops":[{"op":"checkpoint_v2","step_id":1,"state":{"n":1},"idempotency_key":"k"}]}`},
	} {
		m := logged(bench.body)
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(m.Body)))
			for b.Loop() {
				if ev := subjects.Decode(m); ev.Poison != nil {
					b.Fatal(ev.Poison)
				}
			}
		})
	}
}
