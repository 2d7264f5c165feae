// Command bot links a phone, prints its messages and answers /ping, until Ctrl-C.
//
//	go run ./bot                                        shows a QR code to scan
//	go run ./bot -stand-in ws://127.0.0.1:8080/ws/chat  the same on a simulated WhatsApp
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"centralita.example/go/centralita"
)

func main() {
	store := flag.String("store", "centralita.db", "path of an SQLite file, or mongodb://…")
	standIn := flag.String("stand-in", "", "ws:// address of a stand-in; the library must be built for it")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *store, *standIn); err != nil && ctx.Err() == nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, store, standIn string) (err error) {
	options := centralita.Options{}
	if standIn != "" {
		options["stand_in_url"] = standIn
	}
	service, err := centralita.Open(store, options)
	if err != nil {
		return err
	}
	defer func() {
		if closed := service.Close(10 * time.Second); err == nil {
			err = closed
		}
		fmt.Println("stopped")
	}()
	events, err := service.Subscribe(centralita.SubscriptionOptions{Sessions: []string{"ventas"}})
	if err != nil {
		return err
	}
	defer events.Close()
	session, err := service.CreateSession(ctx, "ventas")
	if err != nil {
		return err
	}
	defer session.Free()
	err = session.Link(ctx, func(step centralita.Step) {
		if step.Kind == centralita.StepQR {
			picture, err := step.Terminal()
			if err != nil {
				log.Print(err)
			}
			fmt.Println(picture)
			if standIn != "" {
				fmt.Println("qr", step.Text)
			}
		}
	})
	if err != nil {
		return err
	}
	fmt.Println("connected")
	for {
		select {
		case <-ctx.Done():
			return nil
		case event, open := <-events.C:
			if !open {
				return events.Err()
			}
			if event.Type != centralita.EventMessage || event.FromMe {
				continue
			}
			fmt.Printf("%s: %s\n", event.SenderName, event.Text)
			if event.Text == "/ping" {
				if _, err := session.Send(ctx, centralita.Reply(event.Key, "pong")); err != nil {
					log.Print(err)
				}
			}
		}
	}
}
