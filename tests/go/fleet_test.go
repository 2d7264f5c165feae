package tests

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"centralita.example/go/centralita"
)

// linked gives a service with a session that is linked, its phone's number and a contact's.
func linked(t *testing.T, store string) (service *centralita.Service, session *centralita.Session, phone, contact string) {
	t.Helper()
	phone, contact = addPhone(t, "Ventas"), addPhone(t, "Clienta")
	service = open(t, store)
	session, err := service.CreateSession(within(t), "ventas")
	if err != nil {
		t.Fatal(err)
	}
	scanned := false
	err = session.Link(within(t), func(step centralita.Step) {
		if step.Kind == centralita.StepQR && !scanned {
			scanned = true
			post(t, "/admin/phones/"+phone+"/scan-qr", step.Text)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := session.WaitConnected(within(t)); err != nil {
		t.Fatal(err)
	}
	return service, session, phone, contact
}

func TestHealthParkingAndRestore(t *testing.T) {
	ctx := within(t)
	store := filepath.Join(t.TempDir(), "centralita.db")
	service, session, _, contact := linked(t, store)
	figures, err := session.Figures()
	if err != nil || figures.Link != centralita.VitalGood || figures.Parked || figures.MemoryBytes <= 0 {
		t.Fatalf("%+v %v", figures, err)
	}
	if health, err := session.Health(ctx); err != nil || !strings.Contains(string(health), `"state":"good"`) {
		t.Fatalf("%s %v", health, err)
	}
	fleet, err := service.Figures()
	if err != nil || fleet.Running != 1 || fleet.Connected != 1 || fleet.Breaker != centralita.BreakerClosed || !fleet.PausedUntil.IsZero() {
		t.Fatalf("%+v %v", fleet, err)
	}
	if health, err := service.Health(); err != nil || !json.Valid(health) {
		t.Fatalf("%s %v", health, err)
	}
	if err := session.Park(ctx); err != nil || !session.Parked() {
		t.Fatal(err)
	}
	if fleet, err = service.Figures(); err != nil || fleet.Parked != 1 || fleet.Connected != 0 {
		t.Fatalf("%+v %v", fleet, err)
	}
	if err := session.ReconnectNow(); err != nil {
		t.Fatal(err)
	}
	if err := session.WaitConnected(ctx); err != nil || session.Parked() {
		t.Fatal(err)
	}
	if _, err := centralita.MetricsText(); !errors.Is(err, centralita.ErrInvalidState) {
		t.Fatal(err)
	}

	// What waits in the outbox.
	if err := session.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	later := centralita.Text(contact, "mañana")
	later.QueueUntil = time.Now().Add(time.Hour)
	sent, err := session.Send(ctx, later)
	if err != nil || sent.Status != "queued" {
		t.Fatalf("%+v %v", sent, err)
	}
	if waiting, err := session.Outbox(ctx, ""); err != nil || !strings.Contains(string(waiting), sent.MessageID) {
		t.Fatalf("%s %v", waiting, err)
	}
	if err := session.CancelQueued(ctx, sent.MessageID); err != nil {
		t.Fatal(err)
	}
	if err := session.CancelQueued(ctx, sent.MessageID); !errors.Is(err, centralita.ErrNotFound) {
		t.Fatal(err)
	}

	var steps, connected atomic.Uint64
	report, err := service.RestoreAndWait(ctx, patience, func(step centralita.RestoreStep) {
		steps.Add(1)
		connected.Store(step.Connected)
		if step.SessionID != "ventas" || step.Total != 1 {
			t.Errorf("%+v", step)
		}
		panic("a progress function may panic")
	})
	if err != nil || len(report.Connected) != 1 {
		t.Fatalf("%+v %v", report, err)
	}
	if ids, err := service.RunningSessions(); err != nil || len(ids) != 1 {
		t.Fatal(ids, err)
	}
	// The completion thread may have told the last step after the operation had ended, but before the service's end.
	if err := service.Close(patience); err != nil {
		t.Fatal(err)
	}
	if steps.Load() != 2 || connected.Load() != 1 {
		t.Fatal(steps.Load(), connected.Load())
	}
}

func TestDurableEvents(t *testing.T) {
	ctx := within(t)
	service, session, phone, contact := linked(t, "memory:")
	consumer, err := service.OpenConsumer(ctx, "crm", `{"maxAttempts":2,"minPauseMs":1,"maxPauseMs":2}`)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := service.OpenConsumer(ctx, "crm", ""); !errors.Is(err, centralita.ErrConflict) {
		t.Fatal(err)
	}
	sends(t, contact, phone, "mal")
	sends(t, contact, phone, "bien")
	var failures, handled atomic.Int32
	err = consumer.Run(ctx, func(event centralita.Event, attempt int) error {
		switch event.Text {
		case "mal":
			if failures.Add(1) != int32(attempt) {
				t.Errorf("attempt %d", attempt)
			}
			if attempt == 1 {
				panic("a handler may panic")
			}
			return errors.New("no")
		case "bien":
			handled.Add(1)
			return consumer.Stop()
		}
		return nil
	})
	if err != nil || failures.Load() != 2 || handled.Load() != 1 {
		t.Fatal(err, failures.Load(), handled.Load())
	}
	if letters, err := service.DeadLetters(ctx, "crm", ""); err != nil || !strings.Contains(string(letters), "handler answered 1") {
		t.Fatalf("%s %v", letters, err)
	}

	// The end of the context ends a run.
	ending, cancel := context.WithCancel(ctx)
	time.AfterFunc(20*time.Millisecond, cancel)
	if err := consumer.Run(ending, func(centralita.Event, int) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}

	if count, err := service.ReplayDeadLetters(ctx, "crm", "", 0); err != nil || count != 1 {
		t.Fatal(count, err)
	}
	batch, err := consumer.Next(ctx, 1, patience)
	if err != nil || len(batch) != 1 || !batch[0].Replayed || !strings.Contains(string(batch[0].Event), `"mal"`) {
		t.Fatalf("%+v %v", batch, err)
	}
	if err := consumer.Reject(ctx, batch[0].Cursor, "still no"); err != nil {
		t.Fatal(err)
	}
	if err := consumer.Ack(ctx, "x"); !errors.Is(err, centralita.ErrInvalid) {
		t.Fatal(err)
	}
	if count, err := service.DiscardDeadLetters(ctx, "crm", "", 0); err != nil || count != 1 {
		t.Fatal(count, err)
	}
	if err := consumer.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if infos, err := service.Consumers(ctx); err != nil || len(infos) != 1 || infos[0].Name != "crm" {
		t.Fatalf("%+v %v", infos, err)
	}
	if err := service.DeleteConsumer(ctx, "crm"); err != nil {
		t.Fatal(err)
	}
	if _, err := service.DeadLetters(ctx, "crm", ""); !errors.Is(err, centralita.ErrNotFound) {
		t.Fatal(err)
	}
	session.Free()
	if err := service.Close(patience); err != nil {
		t.Fatal(err)
	}
}
