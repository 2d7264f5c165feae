package centralita

/*
#include <centralita.h>
*/
import "C"

import (
	"context"
	"encoding/json"
)

// Manager is the seed's SessionManager: what is known of sessions, whether they run here or not. Its methods are those of
// centralita.h, with JSON in and out; an empty JSON argument stands for none.
type Manager struct{ service *Service }

// Manager gives the session records of the service.
func (s *Service) Manager() Manager { return Manager{s} }

func flag(value bool) C.int32_t {
	if value {
		return 1
	}
	return 0
}

func (m Manager) ask(
	ctx context.Context,
	call func(op *operation, handle *C.centralita_service, err **C.centralita_error) C.int32_t,
) (json.RawMessage, error) {
	text, err := runText(ctx, m.service.begin(call))
	return json.RawMessage(text), err
}

// CreateOrUpdateSession creates a session, or changes what is said of it: name, phone, userAgent, platform, version. It does not start it.
func (m Manager) CreateOrUpdateSession(ctx context.Context, id string, dataJSON string) (json.RawMessage, error) {
	return m.ask(ctx, func(op *operation, handle *C.centralita_service, err **C.centralita_error) C.int32_t {
		return C.centralita_manager_create_or_update_session(handle, str(&op.pins, id), optional(&op.pins, dataJSON), op.later, nil, err)
	})
}

// GetSession gives the record of a session.
func (m Manager) GetSession(ctx context.Context, id string) (json.RawMessage, error) {
	return m.ask(ctx, func(op *operation, handle *C.centralita_service, err **C.centralita_error) C.int32_t {
		return C.centralita_manager_get_session(handle, str(&op.pins, id), op.later, nil, err)
	})
}

// ListSessions gives a page of sessions.
func (m Manager) ListSessions(ctx context.Context, queryJSON string) (json.RawMessage, error) {
	return m.ask(ctx, func(op *operation, handle *C.centralita_service, err **C.centralita_error) C.int32_t {
		return C.centralita_manager_list_sessions(handle, optional(&op.pins, queryJSON), op.later, nil, err)
	})
}

// CountSessions counts sessions.
func (m Manager) CountSessions(ctx context.Context, queryJSON string) (json.RawMessage, error) {
	return m.ask(ctx, func(op *operation, handle *C.centralita_service, err **C.centralita_error) C.int32_t {
		return C.centralita_manager_count_sessions(handle, optional(&op.pins, queryJSON), op.later, nil, err)
	})
}

// GetActiveSessions gives a page of the sessions that were not put away.
func (m Manager) GetActiveSessions(ctx context.Context, pageJSON string) (json.RawMessage, error) {
	return m.ask(ctx, func(op *operation, handle *C.centralita_service, err **C.centralita_error) C.int32_t {
		return C.centralita_manager_get_active_sessions(handle, optional(&op.pins, pageJSON), op.later, nil, err)
	})
}

// GetConnectedSessions gives a page of the sessions that are logged in.
func (m Manager) GetConnectedSessions(ctx context.Context, pageJSON string) (json.RawMessage, error) {
	return m.ask(ctx, func(op *operation, handle *C.centralita_service, err **C.centralita_error) C.int32_t {
		return C.centralita_manager_get_connected_sessions(handle, optional(&op.pins, pageJSON), op.later, nil, err)
	})
}

// GetProblematicSessions gives a page of the sessions in status error or with that many failed attempts.
func (m Manager) GetProblematicSessions(ctx context.Context, minAttempts uint32, pageJSON string) (json.RawMessage, error) {
	return m.ask(ctx, func(op *operation, handle *C.centralita_service, err **C.centralita_error) C.int32_t {
		return C.centralita_manager_get_problematic_sessions(handle, C.uint32_t(minAttempts), optional(&op.pins, pageJSON), op.later, nil, err)
	})
}

// UpdateConnectionStatus sets a status that the transition table allows.
func (m Manager) UpdateConnectionStatus(ctx context.Context, id string, connected bool, status string, metadataJSON string) (json.RawMessage, error) {
	return m.ask(ctx, func(op *operation, handle *C.centralita_service, err **C.centralita_error) C.int32_t {
		return C.centralita_manager_update_connection_status(handle, str(&op.pins, id), flag(connected), str(&op.pins, status), optional(&op.pins, metadataJSON), op.later, nil, err)
	})
}

// RecordConnectionAttempt counts a failure, or clears the count.
func (m Manager) RecordConnectionAttempt(ctx context.Context, id string, success bool, reason string) (json.RawMessage, error) {
	return m.ask(ctx, func(op *operation, handle *C.centralita_service, err **C.centralita_error) C.int32_t {
		return C.centralita_manager_record_connection_attempt(handle, str(&op.pins, id), flag(success), optional(&op.pins, reason), op.later, nil, err)
	})
}

// UpdateQRCode stores a QR code; empty removes it.
func (m Manager) UpdateQRCode(ctx context.Context, id string, code string) (json.RawMessage, error) {
	return m.ask(ctx, func(op *operation, handle *C.centralita_service, err **C.centralita_error) C.int32_t {
		return C.centralita_manager_update_qr_code(handle, str(&op.pins, id), optional(&op.pins, code), op.later, nil, err)
	})
}

// IncrementMessageCount counts one message, received or sent, that is not stored.
func (m Manager) IncrementMessageCount(ctx context.Context, id string, direction string) (json.RawMessage, error) {
	return m.ask(ctx, func(op *operation, handle *C.centralita_service, err **C.centralita_error) C.int32_t {
		return C.centralita_manager_increment_message_count(handle, str(&op.pins, id), str(&op.pins, direction), op.later, nil, err)
	})
}

// UpdateChatCount counts the stored chats anew.
func (m Manager) UpdateChatCount(ctx context.Context, id string) (json.RawMessage, error) {
	return m.ask(ctx, func(op *operation, handle *C.centralita_service, err **C.centralita_error) C.int32_t {
		return C.centralita_manager_update_chat_count(handle, str(&op.pins, id), op.later, nil, err)
	})
}

// UpdateHealthCheck notes a health check.
func (m Manager) UpdateHealthCheck(ctx context.Context, id string, memoryMB float64) (json.RawMessage, error) {
	return m.ask(ctx, func(op *operation, handle *C.centralita_service, err **C.centralita_error) C.int32_t {
		return C.centralita_manager_update_health_check(handle, str(&op.pins, id), C.double(memoryMB), op.later, nil, err)
	})
}

// MarkAsInactive puts a session away.
func (m Manager) MarkAsInactive(ctx context.Context, id string, reason string) (json.RawMessage, error) {
	return m.ask(ctx, func(op *operation, handle *C.centralita_service, err **C.centralita_error) C.int32_t {
		return C.centralita_manager_mark_as_inactive(handle, str(&op.pins, id), str(&op.pins, reason), op.later, nil, err)
	})
}

// DeleteSession deletes a session that runs nowhere, with all that is its.
func (m Manager) DeleteSession(ctx context.Context, id string) (json.RawMessage, error) {
	return m.ask(ctx, func(op *operation, handle *C.centralita_service, err **C.centralita_error) C.int32_t {
		return C.centralita_manager_delete_session(handle, str(&op.pins, id), op.later, nil, err)
	})
}

// CleanupInactiveSessions deletes the sessions without activity, or says which it would.
func (m Manager) CleanupInactiveSessions(ctx context.Context, days uint32, dryRun bool) (json.RawMessage, error) {
	return m.ask(ctx, func(op *operation, handle *C.centralita_service, err **C.centralita_error) C.int32_t {
		return C.centralita_manager_cleanup_inactive_sessions(handle, C.uint32_t(days), flag(dryRun), op.later, nil, err)
	})
}

// GetStatistics gives the figures of the whole system.
func (m Manager) GetStatistics(ctx context.Context) (json.RawMessage, error) {
	return m.ask(ctx, func(op *operation, handle *C.centralita_service, err **C.centralita_error) C.int32_t {
		return C.centralita_manager_get_statistics(handle, op.later, nil, err)
	})
}

// ResetConnectionAttempts sets the count of failed attempts to zero.
func (m Manager) ResetConnectionAttempts(ctx context.Context, id string) (json.RawMessage, error) {
	return m.ask(ctx, func(op *operation, handle *C.centralita_service, err **C.centralita_error) C.int32_t {
		return C.centralita_manager_reset_connection_attempts(handle, str(&op.pins, id), op.later, nil, err)
	})
}
