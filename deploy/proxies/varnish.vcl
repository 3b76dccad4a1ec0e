# /etc/varnish/default.vcl: amoiq behind Varnish. Tested with Varnish 7.1 (tests/proxies).
#
# In amoiq's settings: [server] trusted_proxies = ["127.0.0.1/32"]
#
# Varnish adds the client's address at the end of X-Forwarded-For by itself, and does no TLS. It does not notice that
# a polling client left: the visitor stays online for up to 45 s.
vcl 4.1;

backend amoiq {
    .host = "127.0.0.1";
    .port = "4000";
    # Longer than realtime.ping_interval_ms, which is 25 s.
    .first_byte_timeout = 60s;
    .between_bytes_timeout = 60s;
}

sub vcl_recv {
    # Websockets are passed on byte by byte.
    if (req.http.Upgrade ~ "(?i)^websocket$") {
        return (pipe);
    }
    # Cache nothing of a chat.
    return (pass);
}

sub vcl_pipe {
    # Without these, websockets are answered 400.
    set bereq.http.Upgrade = req.http.Upgrade;
    set bereq.http.Connection = req.http.Connection;
}
