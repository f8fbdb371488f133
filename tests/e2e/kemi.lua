-- SPDX-License-Identifier: GPL-2.0-or-later
-- The routing script of test_kemi.py: a presence server, and MESSAGE sip:COMMAND@host with words in its body.

local function words()
	local found = {}
	for word in string.gmatch(KSR.pv.get("$rb"), "%S+") do
		found[#found + 1] = word
	end
	return found
end

local commands = {
	enable = function(w) return KSR.pua_exchange.exchange_enable(w[1]) end,
	enable2 = function(w) return KSR.pua_exchange.exchange_enable_mailbox(w[1], w[2]) end,
	disable = function(w) return KSR.pua_exchange.exchange_disable(w[1]) end,
	refresh = function(w) return KSR.pua_exchange.exchange_refresh(w[1]) end,
	get = function(w)
		local value = KSR.pua_exchange.exchange_get(w[2], w[1])
		return type(value) .. " " .. tostring(value)
	end,
	-- outside of an event there is none
	event = function(w) return tostring(KSR.pua_exchange.exchange_event(w[1])) end,
}

function ksr_request_route()
	local method = KSR.pv.get("$rm")

	if method == "OPTIONS" then
		KSR.sl.sl_send_reply(200, "OK")
	elseif method == "MESSAGE" then
		KSR.sl.sl_send_reply(200, "is " .. tostring(commands[KSR.pv.get("$rU")](words())))
	elseif method == "PUBLISH" or method == "SUBSCRIBE" then
		KSR.tm.t_newtran()
		if method == "PUBLISH" then
			KSR.presence.handle_publish()
		else
			KSR.presence.handle_subscribe()
		end
		KSR.tm.t_release()
	else
		KSR.sl.sl_send_reply(405, "Method Not Allowed")
	end
	return 1
end

function on_exchange(event)
	local value = KSR.pua_exchange.exchange_event

	if event == "exchange:state" then
		KSR.notice("kemi: " .. value("aor") .. " is " .. value("status") .. ", was " .. value("was") .. "\n")
	else
		KSR.notice("kemi: gateway " .. value("gateway") .. " is " .. value("health") .. ", aor "
			.. tostring(value("aor")) .. "\n")
	end
	return 1
end
