/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "soap.h"

#include "grammar.h"

#define SCHEMAS                                                                                    \
	" xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\""                                 \
	" xmlns:xsd=\"http://www.w3.org/2001/XMLSchema\""
#define DECLARATION "<?xml version=\"1.0\" encoding=\"utf-8\"?>"

void soap_begin(struct buf *b, enum version server)
{
	buf_str(b, DECLARATION "<s:Envelope xmlns:s=\"" NS_SOAP "\"><s:Header>"
	                       "<h:ServerVersionInfo");
	version_info(b, server);
	buf_str(b, " xmlns:h=\"" NS_TYPES "\" xmlns=\"" NS_TYPES "\"" SCHEMAS "/></s:Header>"
	           "<s:Body" SCHEMAS ">");
}

void soap_end(struct buf *b)
{
	buf_str(b, "</s:Body></s:Envelope>");
}

void soap_stream_begin(struct buf *b, enum version server, enum dialect d)
{
	if (d == DIALECT_PREFIXED) {
		soap_begin(b, server);
		return;
	}
	buf_str(b, "<Envelope xmlns=\"" NS_SOAP "\"><soap11:Header xmlns:soap11=\"" NS_SOAP
	           "\"><ServerVersionInfo" SCHEMAS);
	version_info(b, server);
	buf_str(b, " xmlns=\"" NS_TYPES "\" /></soap11:Header><soap11:Body xmlns:soap11=\"" NS_SOAP
	           "\">");
}

void soap_stream_end(struct buf *b, enum dialect d)
{
	if (d == DIALECT_PREFIXED)
		soap_end(b);
	else
		buf_str(b, "</soap11:Body></Envelope>");
}

void soap_fault(struct buf *b, const char *code, const char *text, const char *values)
{
	buf_fmt(b,
	        DECLARATION "<s:Envelope xmlns:s=\"" NS_SOAP "\"><s:Body><s:Fault>"
	                    "<faultcode xmlns:a=\"" NS_TYPES "\">a:%s</faultcode>"
	                    "<faultstring xml:lang=\"en-US\">",
	        code);
	buf_xml(b, text);
	buf_fmt(b,
	        "</faultstring><detail><e:ResponseCode xmlns:e=\"" NS_ERRORS "\">%s"
	        "</e:ResponseCode><e:Message xmlns:e=\"" NS_ERRORS "\">",
	        code);
	buf_xml(b, text);
	buf_str(b, "</e:Message>");
	if (values) {
		buf_str(b, "<t:MessageXml xmlns:t=\"" NS_TYPES "\">");
		buf_str(b, values);
		buf_str(b, "</t:MessageXml>");
	}
	buf_str(b, "</detail></s:Fault></s:Body></s:Envelope>");
}

void soap_plain_fault(struct buf *b, const char *code, const char *text)
{
	buf_fmt(b,
	        DECLARATION "<s:Envelope xmlns:s=\"" NS_SOAP "\"><s:Body><s:Fault>"
	                    "<faultcode>s:%s</faultcode><faultstring xml:lang=\"en-US\">",
	        code);
	buf_xml(b, text);
	buf_str(b, "</faultstring></s:Fault></s:Body></s:Envelope>");
}

void soap_error_message(struct buf *b, const char *element, const char *code, const char *text)
{
	buf_fmt(b, "<m:%s ResponseClass=\"Error\"><m:MessageText>", element);
	buf_xml(b, text);
	buf_fmt(b,
	        "</m:MessageText><m:ResponseCode>%s</m:ResponseCode>"
	        "<m:DescriptiveLinkKey>0</m:DescriptiveLinkKey>",
	        code);
}
