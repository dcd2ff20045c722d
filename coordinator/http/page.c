/* The web page and its files: from memory, compressed where the browser takes that, not sent again where it has them. */
#include <stdio.h>
#include <string.h>

#include "http/server.h"

static const char *header(const struct exchange *exchange, const char *name) {
        return MHD_lookup_connection_value(exchange->connection, MHD_HEADER_KIND, name);
}

void page_answer(struct exchange *exchange) {
        struct answer *answer = &exchange->answer;
        const struct web_asset *asset = web_find(exchange->route == ROUTE_PAGE ? "index.html" : exchange->id);
        if (!asset) {
                answer_problem(answer, 404, "the page has no file '%s'", exchange->id);
                return;
        }
        answer->asset = asset;
        answer->content_type = asset->type;
        answer->gzip = web_accepts_gzip(header(exchange, "Accept-Encoding"));
        answer->status = web_matches(header(exchange, "If-None-Match"), asset->etag) ? 304 : 200;
        answer->static_text = answer->status == 304 ? "" : answer->gzip ? asset->gzip : asset->data;
        answer->text_len = answer->status == 304 ? 0 : answer->gzip ? asset->gzip_len : asset->len;
}

void page_add_headers(const struct answer *answer, struct MHD_Response *response) {
        const struct web_asset *asset = answer->asset;
        MHD_add_response_header(response, "ETag", asset->etag);
        MHD_add_response_header(response, "Cache-Control", asset->fixed ? "public, max-age=31536000, immutable" : "no-cache");
        MHD_add_response_header(response, "Vary", "Accept-Encoding");
        if (answer->gzip && answer->status == 200)
                MHD_add_response_header(response, "Content-Encoding", "gzip");
        MHD_add_response_header(response, "Content-Security-Policy", web_policy);
        MHD_add_response_header(response, "Referrer-Policy", "no-referrer");
        MHD_add_response_header(response, "Cross-Origin-Opener-Policy", "same-origin");
        MHD_add_response_header(response, "Cross-Origin-Resource-Policy", "same-origin");
}
