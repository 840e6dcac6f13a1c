// Package trouter tells the official chat clients what happens, in the protocol that the
// unmodified browser build of @azure/communication-chat speaks (docs/contract/realtime.md): a
// configuration, an allocation, a handshake of socket.io 0.9, a WebSocket or long polls with
// frames of socket.io, and registrations.
//
// A Handler serves the routes. A socket is one connection, and the gateway.Sink of a session.
// An endpoint is one client, a browser tab or a device. It exists longer than its sockets and
// remembers which events the client has answered, so that the client's next socket gets all
// other events again.
package trouter
