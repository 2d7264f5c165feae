// Package tests runs the Go package against the stand-in at STAND_IN_WS and STAND_IN_ADMIN; ./test ffi sets them.
package tests

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"centralita.example/go/centralita"
)

const patience = time.Minute

func post(t *testing.T, path, body string) []byte {
	t.Helper()
	answer, err := http.Post(os.Getenv("STAND_IN_ADMIN")+path, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode >= 300 {
		t.Fatalf("%s: %s %v", path, answer.Status, err)
	}
	return text
}

func addPhone(t *testing.T, name string) string {
	t.Helper()
	var phone struct {
		Number string `json:"phone_number"`
	}
	if err := json.Unmarshal(post(t, "/admin/phones", fmt.Sprintf(`{"push_name":%q}`, name)), &phone); err != nil {
		t.Fatal(err)
	}
	return phone.Number
}

func sends(t *testing.T, from, to, text string) {
	t.Helper()
	post(t, "/admin/phones/"+from+"/send", fmt.Sprintf(`{"to":%q,"text":%q}`, to, text))
}

func open(t *testing.T, store string) *centralita.Service {
	t.Helper()
	service, err := centralita.Open(store, centralita.Options{
		"stand_in_url":     os.Getenv("STAND_IN_WS"),
		"keys":             "test:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
		"whatsapp_version": "2.3000.1027934701",
		"pre_key_count":    "30",
		"reconnect_min_ms": "50",
		"worker_threads":   "2",
		"durable_events":   "true",
	})
	if err != nil {
		t.Fatal(err)
	}
	return service
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func next(t *testing.T, events *centralita.Subscription, kind centralita.EventType) centralita.Event {
	t.Helper()
	for {
		select {
		case event, open := <-events.C:
			if !open {
				t.Fatalf("the events ended: %v", events.Err())
			}
			if event.Type == kind {
				return event
			}
		case <-time.After(patience):
			t.Fatalf("no event of type %d", kind)
		}
	}
}

func TestLife(t *testing.T) {
	ctx := within(t)
	phone, contact := addPhone(t, "Ventas"), addPhone(t, "Clienta")
	store := filepath.Join(t.TempDir(), "centralita.db")
	service := open(t, store)
	events, err := service.Subscribe(centralita.SubscriptionOptions{
		Sessions: []string{"ventas"}, Overflow: centralita.Wait,
	})
	if err != nil {
		t.Fatal(err)
	}
	session, err := service.CreateSession(ctx, "ventas")
	if err != nil {
		t.Fatal(err)
	}
	scanned := false
	err = session.Link(ctx, func(step centralita.Step) {
		if step.Kind == centralita.StepQR && !scanned {
			scanned = true
			if png, err := step.PNG(4); err != nil || !strings.HasPrefix(string(png), "\x89PNG") {
				t.Errorf("no PNG: %v", err)
			}
			post(t, "/admin/phones/"+phone+"/scan-qr", step.Text)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := session.WaitConnected(ctx); err != nil || !session.Connected() {
		t.Fatal(err)
	}

	sends(t, contact, phone, "¿hola?")
	message := next(t, events, centralita.EventMessage)
	if message.Text != "¿hola?" || message.SenderName != "Clienta" || message.SessionID != "ventas" || !json.Valid(message.JSON) {
		t.Fatalf("%+v", message)
	}
	if _, err := session.Send(ctx, centralita.Reply(message.Key, "pong")); err != nil {
		t.Fatal(err)
	}
	if err := session.MarkRead(ctx, message.Key); err != nil {
		t.Fatal(err)
	}
	order := centralita.Text(contact, "order")
	order.IdempotencyKey = "order-17"
	first, err := session.Send(ctx, order)
	if err != nil {
		t.Fatal(err)
	}
	again, err := session.Send(ctx, order)
	if err != nil || again.MessageKey != first.MessageKey || !again.Repeated {
		t.Fatalf("%+v %v", again, err)
	}
	for _, outgoing := range []centralita.Outgoing{
		centralita.Reaction(message.Key, "👍"), centralita.Edit(first.MessageKey, "order!"), centralita.Revoke(first.MessageKey),
	} {
		if _, err := session.Send(ctx, outgoing); err != nil {
			t.Fatal(err)
		}
	}
	if err := session.SetTyping(ctx, contact, true); err != nil {
		t.Fatal(err)
	}
	if statistics, err := service.Manager().GetStatistics(ctx); err != nil || !strings.Contains(string(statistics), `"connectedSessions":1`) {
		t.Fatalf("%s %v", statistics, err)
	}

	if err := service.Close(patience); err != nil {
		t.Fatal(err)
	}
	for range events.C {
	}
	if err := events.Err(); err != nil {
		t.Fatal(err)
	}
	events.Close()
	if _, err := session.Record(ctx); !errors.Is(err, centralita.ErrClosed) {
		t.Fatalf("%v", err)
	}
	session.Free()
	session.Free()
	if _, err := session.Record(ctx); !errors.Is(err, centralita.ErrInvalid) {
		t.Fatalf("%v", err)
	}

	// What came meanwhile, without a QR code.
	sends(t, contact, phone, "dos")
	service = open(t, store)
	events, err = service.Subscribe(centralita.SubscriptionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if report, err := service.Restore(ctx); err != nil || len(report.Started) != 1 {
		t.Fatalf("%+v %v", report, err)
	}
	if message := next(t, events, centralita.EventMessage); message.Text != "dos" {
		t.Fatalf("%+v", message)
	}
	events.Close()
	if err := service.Close(patience); err != nil {
		t.Fatal(err)
	}
}

func TestManagerAndCleanup(t *testing.T) {
	ctx := within(t)
	service := open(t, "memory:")
	manager := service.Manager()
	has := func(text json.RawMessage, err error) func(string) {
		return func(wanted string) {
			t.Helper()
			if err != nil || !strings.Contains(string(text), wanted) {
				t.Fatalf("%s %v, not %s", text, err, wanted)
			}
		}
	}
	has(manager.CreateOrUpdateSession(ctx, "a", `{"name":"Ana"}`))(`"name":"Ana"`)
	has(manager.RecordConnectionAttempt(ctx, "a", false, "503"))(`"connectionAttempts":1`)
	has(manager.GetProblematicSessions(ctx, 1, ""))(`"sessionId":"a"`)
	has(manager.UpdateConnectionStatus(ctx, "a", true, "connected", `{"platform":"android"}`))(`"isConnected":true`)
	has(manager.GetConnectedSessions(ctx, ""))(`"sessionId":"a"`)
	has(manager.IncrementMessageCount(ctx, "a", "sent"))(`"messagesSent":1`)
	has(manager.UpdateChatCount(ctx, "a"))(`"totalChats":0`)
	has(manager.UpdateHealthCheck(ctx, "a", 1.5))(`"memoryUsage":1.5`)
	has(manager.UpdateQRCode(ctx, "a", ""))(`"qrCode":null`)
	has(manager.ResetConnectionAttempts(ctx, "a"))(`"connectionAttempts":0`)
	has(manager.MarkAsInactive(ctx, "a", "moved"))(`"status":"inactive"`)
	has(manager.GetActiveSessions(ctx, `{"limit":1}`))(`"items":[]`)
	has(manager.ListSessions(ctx, `{"statuses":["inactive"]}`))(`"sessionId":"a"`)
	has(manager.CountSessions(ctx, ""))("1")
	has(manager.GetSession(ctx, "a"))(`"lastDisconnectReason":"moved"`)
	has(manager.CleanupInactiveSessions(ctx, 30, true))(`"dryRun":true`)
	has(manager.GetStatistics(ctx))(`"inactiveSessions":1`)
	cleanup, err := service.StartCleanup(`{"inactiveDays":7}`)
	if err != nil || !cleanup.Running() {
		t.Fatal(err)
	}
	has(cleanup.GetHealthReport(ctx))(`"running":true`)
	has(cleanup.RunManualCleanup(ctx, 30, false))(`"removed":[]`)
	if count, err := cleanup.ResetProblematicSessions(ctx, 1); err != nil || count != 0 {
		t.Fatal(count, err)
	}
	if err := cleanup.Stop(ctx); err != nil || cleanup.Running() {
		t.Fatal(err)
	}
	cleanup.Free()
	has(manager.DeleteSession(ctx, "a"))(`"messages":0`)
	if _, err := manager.GetSession(ctx, "a"); !errors.Is(err, centralita.ErrNotFound) {
		t.Fatal(err)
	}
	if err := service.Close(patience); err != nil {
		t.Fatal(err)
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	ctx := within(t)
	service := open(t, "memory:")
	_, err := service.Session(ctx, "nobody")
	var failure *centralita.Error
	if !errors.Is(err, centralita.ErrNotFound) || !errors.As(err, &failure) || failure.Kind != "not_found" ||
		failure.Session != "nobody" || failure.Retryable {
		t.Fatalf("%#v", err)
	}
	for _, id := range []string{"", "../etc", "a\x00b", "\xff", strings.Repeat("x", 129)} {
		if _, err := service.CreateSession(ctx, id); !errors.Is(err, centralita.ErrInvalid) {
			t.Fatalf("%q: %v", id, err)
		}
	}
	if _, err := centralita.Open("memory:", centralita.Options{"no_such": "x"}); !errors.Is(err, centralita.ErrInvalid) {
		t.Fatal(err)
	}
	if len(centralita.Settings()) < 15 || !strings.HasPrefix(centralita.Version(), "centralita/") {
		t.Fatal("settings or version")
	}
	if err := service.Close(patience); err != nil {
		t.Fatal(err)
	}
	if _, err := service.Session(ctx, "x"); err == nil {
		t.Fatal("a closed service answered")
	}
	if err := service.Close(patience); !errors.Is(err, centralita.ErrClosed) {
		t.Fatal(err)
	}
}

func TestTheEndOfAContextEndsACall(t *testing.T) {
	service := open(t, "memory:")
	session, err := service.CreateSession(within(t), "a")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- session.WaitConnected(ctx) }()
	go func() { ended <- session.Link(ctx, nil) }()
	cancel()
	for range 2 {
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	if _, err := session.Record(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if err := service.Close(patience); err != nil {
		t.Fatal(err)
	}
}

// Under -race: goroutines that subscribe, read, close and free all at once.
func TestManyGoroutines(t *testing.T) {
	service := open(t, "memory:")
	var all sync.WaitGroup
	for worker := range 8 {
		all.Add(1)
		go func() {
			defer all.Done()
			id := fmt.Sprintf("s%d", worker)
			for range 20 {
				events, err := service.Subscribe(centralita.SubscriptionOptions{Capacity: 2})
				if err != nil {
					t.Error(err)
					return
				}
				session, err := service.CreateSession(within(t), id)
				if err != nil {
					t.Error(err)
					return
				}
				// A start makes events; it was stopped before.
				<-events.C
				if err := session.Stop(within(t)); err != nil {
					t.Error(err)
				}
				go session.Free()
				go events.Close()
				events.Close()
			}
		}()
	}
	all.Wait()
	if err := service.Close(patience); err != nil {
		t.Fatal(err)
	}
}
