package mysqlstore

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"

	"github.com/go-sql-driver/mysql"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/wire"
)

// verdict is an error of the store's own making, which knows its class.
type verdict struct {
	class  batcher.Class
	number uint16
	hint   string
	// refused are the events of a [batcher.Refused].
	refused map[uint64]wire.Poison
	err     error
}

func (v *verdict) Error() string { return v.err.Error() }
func (v *verdict) Unwrap() error { return v.err }

// Classify says what err means for a batch. The rule:
//
//   - An error that the server numbered is looked up in a table by that number.
//   - A number that is not in the table counts by its SQLSTATE: data (22) and constraints (23) will be refused for ever, so
//     [batcher.Never]; whatever else there is may pass, so [batcher.Again].
//   - An error without a number is a broken connection, a server that is away or a ctx that ended: again. Only one that shows that
//     the connection can never be had as configured (a certificate, an authentication method) waits for the operator.
//
// In doubt it is again, never [batcher.Never]: an outage must not turn events into dead letters (I7).
func Classify(err error) *batcher.Error {
	var (
		known  *batcher.Error
		told   *verdict
		answer *mysql.MySQLError
	)
	switch {
	case errors.As(err, &known):
		out := *known
		return &out
	case errors.As(err, &told):
		return &batcher.Error{Class: told.class, Number: told.number, Refused: told.refused, Hint: told.hint, Err: err}
	case errors.As(err, &answer):
		r, ok := rules[answer.Number]
		if !ok {
			r = byState(answer.SQLState)
		}
		return &batcher.Error{Class: r.class, Number: answer.Number, Hint: r.hint, Err: err}
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return &batcher.Error{Class: batcher.Again, Err: err}
	}
	if hint := configuredWrong(err); hint != "" {
		return &batcher.Error{Class: batcher.Operator, Hint: hint, Err: err}
	}
	var dial *net.OpError
	if errors.As(err, &dial) && dial.Op == "dial" {
		return &batcher.Error{Class: batcher.Again, Hint: "is the database running, at the address in the DSN, and reachable from here?", Err: err}
	}
	return &batcher.Error{Class: batcher.Again, Err: err}
}

func byState(state [5]byte) rule {
	switch string(state[:2]) {
	case "22", "23":
		return rule{class: batcher.Never}
	default:
		return rule{class: batcher.Again}
	}
}

// configuredWrong is what to do about a connection that cannot be had as configured; empty when that is not it.
func configuredWrong(err error) string {
	var verification *tls.CertificateVerificationError
	if errors.As(err, &verification) || errors.As(err, new(x509.UnknownAuthorityError)) || errors.As(err, new(x509.HostnameError)) {
		return "the server's certificate is not trusted: check the DSN's tls parameter and the CA it names"
	}
	for _, e := range []error{
		mysql.ErrNoTLS, mysql.ErrCleartextPassword, mysql.ErrNativePassword, mysql.ErrOldPassword, mysql.ErrUnknownPlugin, mysql.ErrOldProtocol,
	} {
		if errors.Is(err, e) {
			return "the server wants another kind of connection or authentication: check the DSN's parameters and the user's plugin"
		}
	}
	return ""
}

// Denied reports whether e is of a user who may not come in, or not do what was to be done.
func Denied(e *batcher.Error) bool {
	hint := rules[e.Number].hint
	return hint == hintGrant || hint == hintLogin
}

// TooLarge reports whether e is of data that is larger than the server takes.
func TooLarge(e *batcher.Error) bool { return e.Class == batcher.Never && e.Number == packetTooLarge }
