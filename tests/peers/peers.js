// SPDX-License-Identifier: GPL-2.0-or-later
//
// ews-javascript-api, a client that others wrote, against exchange-sim: what it can't read, Exchange
// wouldn't have said so. node peers.js FOLDER: where node_modules is.
'use strict';
const assert = require('node:assert/strict');
const {spawn} = require('node:child_process');
const fs = require('node:fs');
const http = require('node:http');
const https = require('node:https');
const {createRequire} = require('node:module');
const path = require('node:path');
const readline = require('node:readline');

const folder = path.resolve(process.argv[2]);
const load = createRequire(path.join(folder, 'x.js'));
const ews = load('ews-javascript-api');
const {XhrApi} = load('@ewsjs/xhr');

const DAY = 86400e3;
const PATIENCE_MS = 10000;
// a listener's answer to a notification
const OK = '<soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"><soap:Body>' +
	'<SendNotificationResult xmlns="http://schemas.microsoft.com/exchange/services/2006/messages">' +
	'<SubscriptionStatus>?</SubscriptionStatus></SendNotificationResult></soap:Body></soap:Envelope>';
const EVENTS = [ews.EventType.Created, ews.EventType.Deleted, ews.EventType.Modified,
	ews.EventType.Moved];

let sim, ca;
const agents = []; // of https

async function start(...options) {
	const file = path.join(folder, 'ca.pem');
	const child = spawn(path.join(folder, '..', 'exchange-sim'),
		['--exit-on-eof', '--ca-out', file, '--calendars', 'empty', '--users', '5', ...options],
		{stdio: ['pipe', 'pipe', 'inherit']});
	const ended = new Promise(resolve => child.on('exit', resolve));
	const line = await new Promise((resolve, reject) => {
		readline.createInterface({input: child.stdout}).once('line', resolve);
		child.on('error', reject);
		ended.then(code => reject(new Error(`exchange-sim ended with ${code}`)));
	});
	sim = {child, ended, ...JSON.parse(line)};
	ca = fs.readFileSync(file);
}

async function stop() {
	for (const one of agents.splice(0))
		one.destroy();
	sim.child.stdin.end();
	const code = await sim.ended;
	assert.equal(code, 0, `exchange-sim ended with ${code}`);
}

async function control(method, where, body) {
	const answer = await fetch(sim.control + where, {method, body: body && JSON.stringify(body)});
	const json = await answer.json();
	assert.equal(answer.status, 200, JSON.stringify(json));
	return json;
}

function meet(user, from, to, status = 'busy') {
	return control('POST', '/meetings', {mailbox: user, start: from, end: to, status, subject: 'S'});
}

function service(user, {version = ews.ExchangeVersion.Exchange2013_SP1, headers = {}} = {}) {
	const s = new ews.ExchangeService(version);
	const agent = new https.Agent({ca, keepAlive: true});

	agents.push(agent);
	s.XHRApi = new XhrApi({httpsAgent: agent});
	s.Url = new ews.Uri(sim.cas[0].url);
	s.Credentials = new ews.WebCredentials(sim.account, 'secret');
	if (user)
		s.ImpersonatedUserId =
			new ews.ImpersonatedUserId(ews.ConnectingIdType.SmtpAddress, user);
	for (const [name, value] of Object.entries(headers))
		s.HttpHeaders.Add(name, value);
	return s;
}

const calendar = () => [new ews.FolderId(ews.WellKnownFolderName.Calendar)];

function within(promise, what) {
	let timer;
	const late = new Promise((_, reject) => {
		timer = setTimeout(() => reject(new Error(`${what}: not within ${PATIENCE_MS} ms`)),
			PATIENCE_MS);
	});
	return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

async function until(condition, what) {
	const late = Date.now() + PATIENCE_MS;
	while (!await condition()) {
		assert(Date.now() < late, `${what}: not within ${PATIENCE_MS} ms`);
		await new Promise(resolve => setTimeout(resolve, 20));
	}
}

// A stream of subscriptions; heard(what) waits for an event of that type.
async function stream(s, subscriptions, minutes = 30) {
	const connection = new ews.StreamingSubscriptionConnection(s, minutes);
	const all = [], waiting = [];
	const tell = one => {
		all.push(one);
		for (const w of waiting)
			w();
	};
	subscriptions.forEach(one => connection.AddSubscription(one));
	connection.OnNotificationEvent.push((_, args) => args.Events.forEach(
		e => tell({id: args.Subscription.Id, type: ews.EventType[e.EventType]})));
	connection.OnSubscriptionError.push((_, args) =>
		tell({id: args.Subscription && args.Subscription.Id, error: String(args.Exception)}));
	connection.OnDisconnect.push(() => tell({over: true}));
	connection.Open().catch(e => tell({error: String(e)})); // settled only when it has ended
	const heard = fits => within(new Promise(resolve => {
		const look = () => {
			const found = all.find(fits);
			if (found)
				resolve(found);
		};
		waiting.push(look);
		look();
	}), `an event ${fits}; heard ${JSON.stringify(all)}`);
	return {connection, heard, all};
}

const tests = {
	async 'availability says when somebody is busy, and how'() {
		const from = Math.floor(Date.now() / DAY) * DAY + DAY;
		await meet('user1@example.test', from / 1000 + 3600, from / 1000 + 7200);
		await meet('user2@example.test', from / 1000 + 7200, from / 1000 + 9000, 'oof');
		const answer = await service().GetUserAvailability(
			['user1', 'user2', 'nobody'].map(u => new ews.AttendeeInfo(`${u}@example.test`)),
			new ews.TimeWindow(new ews.DateTime(from), new ews.DateTime(from + DAY)),
			ews.AvailabilityData.FreeBusy);
		const [one, two, nobody] = answer.AttendeesAvailability.Responses;
		assert.equal(one.CalendarEvents.length, 1);
		assert.equal(one.CalendarEvents[0].FreeBusyStatus, ews.LegacyFreeBusyStatus.Busy);
		assert.equal(one.CalendarEvents[0].StartTime.TotalMilliSeconds, from + 3600e3);
		assert.equal(one.CalendarEvents[0].EndTime.TotalMilliSeconds, from + 7200e3);
		assert.equal(two.CalendarEvents[0].FreeBusyStatus, ews.LegacyFreeBusyStatus.OOF);
		assert.equal(nobody.ErrorCode, ews.ServiceError.ErrorMailRecipientNotFound);
	},

	async 'a stream tells what changes, of several mailboxes'() {
		const s = service('user1@example.test');
		const one = await s.SubscribeToStreamingNotifications(calendar(), ...EVENTS);
		const two = await service('user2@example.test')
			.SubscribeToStreamingNotifications(calendar(), ...EVENTS);
		const st = await stream(s, [one, two]);
		const {id} = await meet('user2@example.test', '+60', '+120');
		await st.heard(e => e.id === two.Id && e.type === 'Created');
		await control('PATCH', `/meetings/${id}`, {status: 'oof'});
		await st.heard(e => e.id === two.Id && e.type === 'Modified');
		await control('DELETE', `/meetings/${id}`);
		await st.heard(e => e.id === two.Id && e.type === 'Deleted');
		assert(!st.all.some(e => e.id === one.Id || e.error));
		st.connection.Close();
	},

	async 'a stream goes on over heartbeats, and ends when its time is over'() {
		const s = service('user1@example.test');
		const one = await s.SubscribeToStreamingNotifications(calendar(), ...EVENTS);
		const st = await stream(s, [one], 1); // of 3 s here, with a heartbeat each second
		await new Promise(resolve => setTimeout(resolve, 1500));
		await meet('user1@example.test', '+60', '+120');
		await st.heard(e => e.type === 'Created');
		await st.heard(e => e.over);
		assert(!st.all.some(e => e.error), JSON.stringify(st.all));
	},

	async 'a subscription that is gone is named in the stream'() {
		const s = service('user1@example.test');
		const one = await s.SubscribeToStreamingNotifications(calendar(), ...EVENTS);
		const st = await stream(s, [one]);
		await control('POST', '/subscriptions/drop', {mailbox: 'user1@example.test'});
		const found = await st.heard(e => e.error);
		assert.match(found.error, /subscription was not found/);
	},

	async 'pull tells what changed, once'() {
		const s = service('user3@example.test', {version: ews.ExchangeVersion.Exchange2007_SP1});
		s.ImpersonatedUserId = new ews.ImpersonatedUserId(
			ews.ConnectingIdType.PrincipalName, 'user3@example.test');
		const sub = await s.SubscribeToPullNotifications(calendar(), 5, null, ...EVENTS);
		assert.equal((await sub.GetEvents()).AllEvents.length, 0);
		for (let i = 0; i < 60; i++)
			await meet('user3@example.test', '+60', '+120');
		const types = [];
		do {
			const events = await sub.GetEvents();
			types.push(...Array.from(events.ItemEvents, e => ews.EventType[e.EventType]));
		} while (sub.MoreEventsAvailable);
		assert.deepEqual(types, Array(60).fill('Created'));
		await sub.Unsubscribe();
		await assert.rejects(sub.GetEvents(), /subscription was not found/);
	},

	async 'push reaches the listener that was named'() {
		const told = [];
		const listener = http.createServer((request, response) => {
			let body = '';
			request.on('data', data => body += data);
			request.on('end', () => {
				told.push(...body.match(/<t:\w+Event>/g));
				response.setHeader('Content-Type', 'text/xml');
				response.setHeader('Connection', 'close');
				const answer = OK.replace('?', told.length > 1 ? 'Unsubscribe' : 'OK');
				response.setHeader('Content-Length', Buffer.byteLength(answer));
				response.end(answer);
			});
		});
		await new Promise(resolve => listener.listen(0, '127.0.0.1', resolve));
		try {
			const sub = await service('user1@example.test').SubscribeToPushNotifications(
				calendar(), new ews.Uri(`http://127.0.0.1:${listener.address().port}/told`),
				1, null, ...EVENTS);
			assert(sub.Id && sub.Watermark);
			await until(() => told.length === 1, 'the first status');
			await meet('user1@example.test', '+60', '+120');
			await until(() => told.length > 1, 'the event');
			assert.deepEqual(told.slice(0, 2), ['<t:StatusEvent>', '<t:CreatedEvent>']);
			await until(async () => (await control('GET', '/subscriptions')).length === 0,
				'the end of the subscription');
		} finally {
			listener.close();
		}
	},

	async 'a calendar view lists meetings'() {
		const from = Math.floor(Date.now() / DAY) * DAY + 5 * DAY;
		await meet('user4@example.test', from / 1000 + 60, from / 1000 + 120, 'tentative');
		const found = await service('user4@example.test').FindAppointments(
			ews.WellKnownFolderName.Calendar,
			new ews.CalendarView(new ews.DateTime(from), new ews.DateTime(from + DAY)));
		assert.equal(found.Items.length, 1);
		assert.equal(found.Items[0].Subject, 'S');
		assert.equal(found.Items[0].LegacyFreeBusyStatus, ews.LegacyFreeBusyStatus.Tentative);
		assert.equal(found.Items[0].Start.TotalMilliSeconds, from + 60e3);
	},

	async 'affinity keeps a group on one server'() {
		const group = [1, 2, 3, 4, 5].map(i => `user${i}@example.test`);
		const headers = {'X-AnchorMailbox': group[0], 'X-PreferServerAffinity': 'true'};
		const first = service(group[0], {headers});
		const subs = [await first.SubscribeToStreamingNotifications(calendar(), ...EVENTS)];
		const cookie = [].concat(first.HttpResponseHeaders.get('set-cookie')).join()
			.match(/X-BackEndOverrideCookie=[^;,]+/)[0];
		first.HttpHeaders.Add('Cookie', cookie);
		for (const user of group.slice(1))
			subs.push(await service(user, {headers: {...headers, Cookie: cookie}})
				.SubscribeToStreamingNotifications(calendar(), ...EVENTS));
		const st = await stream(first, subs);
		await meet(group[4], '+60', '+120');
		await st.heard(e => e.id === subs[4].Id && e.type === 'Created');
		const here = await control('GET', '/subscriptions');
		assert.equal(new Set(here.filter(one => one.streamed).map(one => one.server)).size, 1);
		assert.equal((await control('GET', '/counters')).misrouted, 0);
		st.connection.Close();
	},

	async 'a wrong password, a missing mailbox and no right are refused'() {
		const wrong = service('user1@example.test');
		wrong.Credentials = new ews.WebCredentials(sim.account, 'wrong');
		await assert.rejects(wrong.SubscribeToStreamingNotifications(calendar(), ...EVENTS),
			/401|[Uu]nauthorized/);
		await assert.rejects(service('nobody@example.test')
			.SubscribeToStreamingNotifications(calendar(), ...EVENTS),
			/has no mailbox associated/);
		await control('POST', '/mailboxes', {address: 'user5@example.test', denied: true});
		await assert.rejects(service('user5@example.test')
			.SubscribeToStreamingNotifications(calendar(), ...EVENTS),
			/permission to impersonate/);
	},
};

// more options of exchange-sim
const options = {'affinity keeps a group on one server': ['--backends', '3']};

async function main() {
	let passed = 0, failed = 0;

	ews.EwsLogging.DebugLogEnabled = false;
	for (const [name, test] of Object.entries(tests)) {
		const begun = Date.now();
		let trouble = null;
		try {
			await start('--minute-ms', '3000', '--heartbeat', '1', ...(options[name] || []));
			try {
				await test();
			} finally {
				await stop();
			}
		} catch (e) {
			trouble = e;
		}
		const seconds = ((Date.now() - begun) / 1000).toFixed(1);
		console.log(`${trouble ? 'FAIL' : 'ok  '} ${name} (${seconds} s)`);
		if (trouble)
			console.log(String(trouble.stack || trouble.message || JSON.stringify(trouble))
				.replace(/^/gm, '     | '));
		passed += !trouble;
		failed += !!trouble;
	}
	console.log(`${passed} passed, ${failed} failed`);
	process.exit(failed ? 1 : 0);
}

main();
