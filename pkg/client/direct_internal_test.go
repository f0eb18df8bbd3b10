package client

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/mysqlstore"
)

func TestErrorsOfTheDatabaseInThisPackagesWords(t *testing.T) {
	t.Parallel()
	wrapped := func(class batcher.Class, number uint16, err error) error {
		return &batcher.Error{Class: class, Number: number, Hint: "from the store", Err: errors.Join(err, errors.New("cause"))}
	}
	for _, tt := range []struct {
		name  string
		err   error
		ended error
		is    []error
		hint  string
	}{
		{"a broken connection", &batcher.Error{Err: mysql.ErrInvalidConn}, nil, []error{ErrUnavailable, mysql.ErrInvalidConn}, hintMySQL},
		{"a caller who left", &batcher.Error{Err: context.Canceled}, context.Canceled, []error{ErrUnavailable, context.Canceled}, ""},
		{"a deadline that passed meanwhile", &batcher.Error{Err: mysql.ErrInvalidConn}, context.DeadlineExceeded, []error{ErrUnavailable, context.DeadlineExceeded}, hintMySQL},
		{"a deadlock, once too often", wrapped(batcher.Again, 1213, nil), nil, []error{ErrUnavailable}, "from the store"},
		{"a full disk", wrapped(batcher.Operator, 1021, nil), nil, []error{ErrUnavailable}, "from the store"},
		{"a missing right", wrapped(batcher.Operator, 1142, nil), nil, []error{ErrPermission}, "from the store"},
		{"a missing right to migrate", wrapped(batcher.Operator, 1142, mysqlstore.ErrSchemaPending), nil, []error{ErrPermission}, "from the store"},
		{"a wrong password", wrapped(batcher.Operator, 1045, nil), nil, []error{ErrPermission}, "from the store"},
		{"an old schema", wrapped(batcher.Operator, 0, mysqlstore.ErrSchemaPending), nil, []error{ErrUnavailable}, hintSchema},
		{"a new schema", wrapped(batcher.Operator, 0, mysqlstore.ErrSchemaNewer), nil, []error{ErrUnavailable}, "from the store"},
		{"a large state", wrapped(batcher.Never, 1153, nil), nil, []error{ErrTooLarge}, hintPacket},
		{"a packet limit that was lowered", wrapped(batcher.Again, 1153, nil), nil, []error{ErrUnavailable}, "from the store"},
		{"a bad state", wrapped(batcher.Never, 4025, nil), nil, []error{ErrRejected}, "from the store"},
		{"a lost answer", wrapped(batcher.Again, 0, mysqlstore.ErrUnknown), context.Canceled, []error{ErrOutcomeUnknown, context.Canceled}, hintUnknown},
		{"a duplicate", wrapped(batcher.Refused, 0, mysqlstore.ErrDuplicate), nil, []error{ErrDuplicate}, ""},
		{"a stale attempt", wrapped(batcher.Refused, 0, mysqlstore.ErrStale), nil, []error{ErrStaleAttempt}, ""},
		{"something else", errors.New("odd"), nil, []error{ErrUnavailable}, hintMySQL},
	} {
		f := directFault(tt.err, tt.ended)
		for _, is := range tt.is {
			require.ErrorIs(t, f, is, tt.name)
		}
		require.Equal(t, tt.is[0], f.kind, tt.name)
		require.Equal(t, tt.hint, f.hint, tt.name)
		require.NotContains(t, f.Error(), "from the store", "the hint is said once")
	}
}

func TestClosingSendsHomeWhoWaitsForNewsAndWaitsForTheOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var c calls
		watching, leaveWatch, err := c.enter(t.Context(), true)
		require.NoError(t, err)
		writing, leaveWrite, err := c.enter(t.Context(), false)
		require.NoError(t, err)
		_, leave, err := c.enter(t.Context(), false)
		require.NoError(t, err)
		leave()
		began := time.Now()
		go func() {
			<-watching.Done()
			leaveWatch()
		}()
		go func() {
			<-time.After(time.Second)
			leaveWrite()
		}()
		require.NoError(t, c.close(time.Minute))
		require.Equal(t, time.Second, time.Since(began))
		require.Equal(t, ErrClosed, context.Cause(watching))
		require.NotEqual(t, ErrClosed, context.Cause(writing))
		_, _, err = c.enter(t.Context(), false)
		require.Equal(t, ErrClosed, err)
	})
}

func TestClosingEndsWhatOutlastsItsTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var c calls
		for range 2 {
			ctx, leave, err := c.enter(t.Context(), false)
			require.NoError(t, err)
			go func() {
				<-ctx.Done()
				leave()
			}()
		}
		require.EqualError(t, c.close(time.Second), "2 calls were still under way after 1s, and were ended")
		require.NoError(t, (&calls{}).close(0), "of nobody it waits for nobody")
	})
}
